;; wat2wasm --enable-tail-call interrupt.wat -o interrupt.wasm
;;
;; Functions that do not return, or not in this life, in all the ways there are.
(module
  (type $again (func (param i32)))
  (memory (export "memory") 1)
  (table 2 funcref)
  (elem (i32.const 0) $indirect $nothing)
  (func $nothing (param i32))
  (func (export "loop") (loop $again (br $again)))
  (func (export "loop_if") (local i32)
    (loop $again (br_if $again (i32.eqz (local.get 0)))))
  (func (export "loop_table") (local i32)
    (loop $again
      (block $out
        (br_table $out $again $again (i32.const 2)))))
  (func (export "loop_result") (result i32)
    (loop $again (result i32) (br $again)))
  (func (export "loop_values") (result i32 i64)
    (i32.const 1)
    (i64.const 2)
    (loop $again (param i32 i64) (result i32 i64)
      (block (param i32 i64) (result i32 i64)
        (loop $inner (param i32 i64) (result i32 i64)
          (br $again)))))
  (func (export "nested") (local i32)
    (block $a (loop $b (block $c (loop $d
      (local.set 0 (i32.add (local.get 0) (i32.const 1)))
      (br_if $c (i32.and (local.get 0) (i32.const 1)))
      (br $b)) (br $b)) (br $b)) (br $a)))
  (func $double (param i32)
    (if (local.get 0) (then
      (call $double (i32.sub (local.get 0) (i32.const 1)))
      (call $double (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "recursion") (call $double (i32.const 200)))
  (func $indirect (param i32)
    (if (local.get 0) (then
      (call_indirect (type $again) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))
      (call_indirect (type $again) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
  (func (export "recursion_indirect") (call $indirect (i32.const 200)))
  (func $tail (return_call $tail))
  (func (export "tail") (return_call $tail))
  (func $other (param i32) (return_call_indirect (type $again) (local.get 0) (i32.const 0)))
  (func (export "bulk") (loop $again
    (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536))
    (memory.copy (i32.const 1) (i32.const 0) (i32.const 65535))
    (br $again))))
