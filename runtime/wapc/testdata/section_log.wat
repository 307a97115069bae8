;; wat2wasm section_log.wat -o section_log.wasm
;;
;; Calls the host from its start section, before there is a call to speak of.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (import "wapc" "__console_log" (func $log (param i32 i32)))
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__host_response_len" (func $len (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1))
  (func $main
    (call $log (i32.const 0) (i32.const 7))
    (call $request (i32.const -1) (i32.const -1)) ;; no call, so nothing is written
    (if (call $len) (then unreachable)))
  (start $main))
