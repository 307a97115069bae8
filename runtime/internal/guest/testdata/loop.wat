;; wat2wasm loop.wat -o loop.wasm
;; Runs for ever.
(module
  (memory (export "memory") 1)
  (func (export "run") (loop $again (br $again))))
