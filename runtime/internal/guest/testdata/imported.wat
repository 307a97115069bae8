;; wat2wasm imported.wat -o imported.wasm
;;
;; Imports its memory, as modules of OPA do. It says how large the memory is, what
;; the data segment has put there, and how often it was asked.
(module
  (import "env" "memory" (memory 2 9))
  (global $asked (mut i32) (i32.const 0))
  (func (export "compute") (param i32) (result i64)
    (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
    (i64.extend_i32_u (i32.add (i32.add (i32.mul (memory.size) (i32.const 10000)) (i32.mul (i32.load8_u (i32.const 8)) (i32.const 100))) (global.get $asked))))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (export "memory" (memory 0))
  (data (i32.const 8) "\2a"))
