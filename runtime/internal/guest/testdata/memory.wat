;; wat2wasm memory.wat -o memory.wasm
;;
;; 1 MiB of memory with a little text in it, which may grow to 16 MiB.
(module
  (memory (export "memory") 16 256)
  (data (i32.const 100) "text of the module")
  (data (i32.const 70000) "more of it")
  (func (export "nothing")))
