;; wat2wasm initialize_loop.wat -o initialize_loop.wasm
;;
;; Does not return from _initialize.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1))
  (func (export "_initialize") (loop $again (br $again))))
