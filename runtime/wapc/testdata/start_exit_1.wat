;; wat2wasm start_exit_1.wat -o start_exit_1.wasm
;;
;; Leaves _start through proc_exit(1).
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1))
  (func (export "_start") (call $exit (i32.const 1))))
