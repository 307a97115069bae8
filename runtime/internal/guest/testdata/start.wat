;; wat2wasm start.wat -o start.wasm
;;
;; Has a start section and no global. It says that it ran, and so does no other.
(module
  (memory (export "memory") 1)
  (func $main (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))))
  (start $main)
  (func (export "compute") (param i32) (result i64) (i64.extend_i32_u (i32.load (i32.const 0)))))
