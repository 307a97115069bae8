;; wat2wasm unknown_module.wat -o unknown_module.wasm
;;
;; Imports from a host module that there is not.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (import "env" "abort" (func))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1)))
