;; wat2wasm tables.wat -o tables.wasm
;;
;; Grows its two tables as far as they go, and says how far.
(module
  (memory (export "memory") 1)
  (table $endless 1 funcref)
  (table $small 1 5 externref)
  (func (export "endless") (result i32)
    (loop $again
      (br_if $again (i32.ne (table.grow $endless (ref.null func) (i32.const 65535)) (i32.const -1))))
    (table.size $endless))
  (func (export "small") (result i32)
    (loop $again
      (br_if $again (i32.ne (table.grow $small (ref.null extern) (i32.const 1)) (i32.const -1))))
    (table.size $small)))
