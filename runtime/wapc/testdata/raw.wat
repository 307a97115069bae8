;; wat2wasm raw.wat -o raw.wasm
;;
;; Does what the letter after the first ~ of the payload says; accepts without
;; one.
(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (import "wapc" "__guest_error" (func $error (param i32 i32)))
  (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $hostResponseLen (result i32)))
  (import "wapc" "__host_response" (func $hostResponse (param i32)))
  (import "wapc" "__host_error_len" (func $hostErrorLen (result i32)))
  (import "wapc" "__host_error" (func $hostError (param i32)))
  (import "wapc" "__console_log" (func $log (param i32 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_unstable" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (data (i32.const 64) "no thanks")
  (data (i32.const 80) "\ff\fe")
  (data (i32.const 90) "kubewarden")
  (data (i32.const 100) "test")
  (data (i32.const 105) "echo")
  (data (i32.const 110) "{}")
  (func $deep (call $deep) (call $deep))
  ;; What follows the first ~ of the payload.
  (func $wish (param $at i32) (param $end i32) (result i32)
    (loop $next
      (if (i32.ge_u (local.get $at) (local.get $end)) (then (return (i32.const 97))))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 126))
        (then (return (i32.load8_u (i32.add (local.get $at) (i32.const 1))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    unreachable)
  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    (local $wish i32)
    (call $request (i32.const 200) (i32.const 8192))
    (local.set $wish (call $wish (i32.const 8192) (i32.add (i32.const 8192) (local.get $payload))))
    (if (i32.eq (local.get $wish) (i32.const 98)) (then ;; b: returns 0 with an error text
      (call $error (i32.const 64) (i32.const 9)) (return (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 99)) (then ;; c: returns 1 and says nothing
      (return (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 100)) (then ;; d: returns 0 and says nothing
      (return (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 101)) (then ;; e: returns 1 with an error text
      (call $error (i32.const 64) (i32.const 9)) (return (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 102)) (then ;; f: answers with nothing
      (call $response (i32.const 0) (i32.const 0)) (return (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 103)) (then ;; g: error text that is not UTF-8
      (call $error (i32.const 80) (i32.const 2)) (return (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 104)) (then ;; h: answer outside memory
      (call $response (i32.const -16) (i32.const 32)) (return (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 105)) (then ;; i: asks for the operation outside memory
      (call $request (i32.const -16) (i32.const 4096))))
    (if (i32.eq (local.get $wish) (i32.const 106)) (then ;; j: asks for the payload outside memory
      (call $request (i32.const 4096) (i32.const -16))))
    (if (i32.eq (local.get $wish) (i32.const 107)) (then ;; k: error text outside memory
      (call $error (i32.const -16) (i32.const 32)) (return (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 108)) (then ;; l: host call, binding outside memory
      (drop (call $host (i32.const -16) (i32.const 32) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 109)) (then ;; m: host call, namespace outside memory
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const -16) (i32.const 32) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 110)) (then ;; n: host call, operation outside memory
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const -16) (i32.const 32) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 111)) (then ;; o: host call, payload outside memory
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const -16) (i32.const 32)))))
    (if (i32.eq (local.get $wish) (i32.const 112)) (then ;; p: host call, binding not UTF-8
      (drop (call $host (i32.const 80) (i32.const 2) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 113)) (then ;; q: host call, namespace not UTF-8
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 2) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 114)) (then ;; r: host call, operation not UTF-8
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 2) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 115)) (then ;; s: log outside memory
      (call $log (i32.const -16) (i32.const 32))))
    (if (i32.eq (local.get $wish) (i32.const 116)) (then ;; t: log not UTF-8
      (call $log (i32.const 80) (i32.const 2))))
    (if (i32.eq (local.get $wish) (i32.const 117)) (then ;; u: answers with what the host said
      (if (i32.ne (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2)) (i32.const 1)) (then unreachable))
      (if (call $hostErrorLen) (then unreachable))
      (call $hostError (i32.const -1)) ;; there is none, so nothing is written
      (call $hostResponse (i32.const 4096))
      (call $response (i32.const 4096) (call $hostResponseLen)) (return (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 118)) (then ;; v: fails with what the host said
      (if (i32.ne (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2)) (i32.const 0)) (then unreachable))
      (if (call $hostResponseLen) (then unreachable))
      (call $hostResponse (i32.const -1))
      (call $hostError (i32.const 4096))
      (call $error (i32.const 4096) (call $hostErrorLen)) (return (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 119)) (then ;; w: fetches the host's answer to outside memory
      (drop (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2))) (call $hostResponse (i32.const -16))))
    (if (i32.eq (local.get $wish) (i32.const 120)) (then ;; x: fetches the host's error to outside memory
      (drop (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2))) (call $hostError (i32.const -16))))
    (if (i32.eq (local.get $wish) (i32.const 121)) (then ;; y: traps
      unreachable))
    (if (i32.eq (local.get $wish) (i32.const 122)) (then ;; z: uses up the stack
      (call $deep)))
    (if (i32.eq (local.get $wish) (i32.const 65)) (then ;; A: leaves with 0
      (call $exit (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 66)) (then ;; B: leaves with 3
      (call $exit (i32.const 3))))
    (if (i32.eq (local.get $wish) (i32.const 67)) (then ;; C: grows its memory and accepts
      (drop (memory.grow (i32.const 16))) (i32.store (i32.const 1000000) (i32.const 7))))
    (if (i32.eq (local.get $wish) (i32.const 68)) (then ;; D: grows its memory for ever
      (loop $again (drop (memory.grow (i32.const 1))) (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 69)) (then ;; E: fills its memory for ever
      (drop (memory.grow (i32.const 500))) (loop $again (memory.fill (i32.const 65536) (i32.const 1) (i32.const 32768000)) (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 70)) (then ;; F: answers with all its memory
      (drop (memory.grow (i32.const 500))) (call $response (i32.const 0) (i32.const 32768000)) (return (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 71)) (then ;; G: prints, then accepts
      (i32.store (i32.const 4096) (i32.const 64)) (i32.store (i32.const 4100) (i32.const 9)) (drop (call $write (i32.const 1) (i32.const 4096) (i32.const 1) (i32.const 4104)))))
    (if (i32.eq (local.get $wish) (i32.const 72)) (then ;; H: loops
      (loop $again (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 73)) (then ;; I: asks the host for ever
      (loop $again (drop (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2))) (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 74)) (then ;; J: error text of all its memory
      (drop (memory.grow (i32.const 500))) (call $error (i32.const 0) (i32.const 32768000)) (return (i32.const 0))))
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1)))
