;; wat2wasm table_set.wat -o table_set.wasm
;;
;; Changes its table while it judges.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1))
  (table $t 2 funcref)
  (func (export "change") (table.set $t (i32.const 0) (ref.null func))))
