;; wat2wasm --no-check memory_10g.wat -o memory_10g.wasm
;;
;; Wants 10 GiB of memory to begin with, which 32 bits cannot address.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 163840)
  (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))
