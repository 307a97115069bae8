;; wat2wasm table_grow.wat -o table_grow.wasm
;;
;; Grows a table without end.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (table $t 1 funcref)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (if (i32.eq (local.get 0) (i32.const 8)) (then
      (loop $again
        (drop (table.grow $t (ref.null func) (i32.const 1000000)))
        (br $again))))
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1)))
