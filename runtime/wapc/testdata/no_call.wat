;; wat2wasm no_call.wat -o no_call.wasm
;;
;; Has no __guest_call.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1))
