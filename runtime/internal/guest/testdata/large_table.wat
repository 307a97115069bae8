;; wat2wasm large_table.wat -o large_table.wasm
;;
;; Has a table of 16 million entries, which is 128 MiB of the host's memory.
(module
  (memory (export "memory") 1)
  (table 16777216 funcref)
  (func (export "compute") (param i32) (result i64) (i64.const 0)))
