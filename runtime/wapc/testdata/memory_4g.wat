;; wat2wasm memory_4g.wat -o memory_4g.wasm
;;
;; Wants 4 GiB of memory to begin with.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 65536)
  (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))
