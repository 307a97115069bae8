;; wat2wasm raw.wat -o raw.wasm
;;
;; Does what the letter after the first ~ of its input says; accepts without
;; one.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "host" "call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "kubewarden:javy/host" "call" (func $javy (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (data (i32.const 64) "no thanks")
  (data (i32.const 80) "\ff\fe")
  (data (i32.const 90) "kubewarden")
  (data (i32.const 100) "test")
  (data (i32.const 105) "echo")
  (data (i32.const 110) "{}")
  (func $readAll (result i32) ;; all of standard input to 8192, its length
    (local $length i32) (local $errno i32)
    (loop $next
      (i32.store (i32.const 256) (i32.add (i32.const 8192) (local.get $length)))
      (i32.store (i32.const 260) (i32.const 32768))
      (local.set $errno (call $read (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 264)))
      (br_if $next (i32.eq (local.get $errno) (i32.const 27))) ;; EINTR
      (if (local.get $errno) (then unreachable))
      (local.set $length (i32.add (local.get $length) (i32.load (i32.const 264))))
      (br_if $next (i32.load (i32.const 264))))
    (local.get $length))
  (func $say (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 256) (local.get $at))
    (i32.store (i32.const 260) (local.get $length))
    (if (call $write (local.get $fd) (i32.const 256) (i32.const 1) (i32.const 264)) (then unreachable)))
  (func $deep (call $deep) (call $deep))
  (func $want (param i32 i32)
    (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
  ;; What follows the first ~ of the input.
  (func $wish (param $at i32) (param $end i32) (result i32)
    (loop $next
      (if (i32.ge_u (local.get $at) (local.get $end)) (then (return (i32.const 97))))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 126))
        (then (return (i32.load8_u (i32.add (local.get $at) (i32.const 1))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    unreachable)
  (func (export "_start")
    (local $wish i32)
    (local.set $wish (call $wish (i32.const 8192) (i32.add (i32.const 8192) (call $readAll))))
    (if (i32.eq (local.get $wish) (i32.const 98)) (then ;; b: leaves with 1 and a reason on standard error
      (call $say (i32.const 2) (i32.const 64) (i32.const 9)) (call $exit (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 99)) (then ;; c: leaves with 0 and says nothing
      (call $exit (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 100)) (then ;; d: leaves with 3 and says nothing
      (call $exit (i32.const 3))))
    (if (i32.eq (local.get $wish) (i32.const 101)) (then ;; e: noise on standard error, then accepts
      (call $say (i32.const 2) (i32.const 64) (i32.const 9))))
    (if (i32.eq (local.get $wish) (i32.const 102)) (then ;; f: answer that is not UTF-8
      (call $say (i32.const 1) (i32.const 80) (i32.const 2)) (call $exit (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 103)) (then ;; g: answer that is not JSON
      (call $say (i32.const 1) (i32.const 64) (i32.const 9)) (call $exit (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 104)) (then ;; h: reads to outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $read (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 105)) (then ;; i: reads with the list outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $read (i32.const 0) (i32.const -4) (i32.const 1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 106)) (then ;; j: reads with the result outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $read (i32.const 0) (i32.const 272) (i32.const 1) (i32.const -2)))))
    (if (i32.eq (local.get $wish) (i32.const 107)) (then ;; k: writes from outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $write (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 108)) (then ;; l: writes with the list outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $write (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 109)) (then ;; m: writes with the result outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $write (i32.const 2) (i32.const 272) (i32.const 1) (i32.const -2)))))
    (if (i32.eq (local.get $wish) (i32.const 110)) (then ;; n: polls with subscriptions outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $poll (i32.const -8) (i32.const 4096) (i32.const 1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 111)) (then ;; o: polls with events outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $poll (i32.const 4096) (i32.const -8) (i32.const 1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 112)) (then ;; p: polls with the result outside memory
      (i32.store (i32.const 256) (i32.const -16)) (i32.store (i32.const 260) (i32.const 32)) (i32.store (i32.const 272) (i32.const 80)) (i32.store (i32.const 276) (i32.const 1))
      (call $want (i32.const 21) (call $poll (i32.const 4096) (i32.const 5000) (i32.const 1) (i32.const -2)))))
    (if (i32.eq (local.get $wish) (i32.const 113)) (then ;; q: polls for nothing
      (call $want (i32.const 28) (call $poll (i32.const 4096) (i32.const 5000) (i32.const 0) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 114)) (then ;; r: polls for far too much
      (call $want (i32.const 28) (call $poll (i32.const 4096) (i32.const 5000) (i32.const -1) (i32.const 264)))))
    (if (i32.eq (local.get $wish) (i32.const 115)) (then ;; s: uses streams that there are not
      (call $want (i32.const 8) (call $read (i32.const 3) (i32.const 256) (i32.const 1) (i32.const 264)))
      (call $want (i32.const 8) (call $read (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 264)))
      (call $want (i32.const 8) (call $write (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 264)))
      (call $want (i32.const 8) (call $write (i32.const -1) (i32.const 256) (i32.const 1) (i32.const 264)))
      (call $want (i32.const 8) (call $close (i32.const 3)))
      (call $want (i32.const 58) (call $renumber (i32.const 1) (i32.const 2)))
      (call $want (i32.const 0) (call $close (i32.const 2)))
      (call $want (i32.const 8) (call $close (i32.const 2)))))
    (if (i32.eq (local.get $wish) (i32.const 116)) (then ;; t: host call, binding outside memory
      (drop (call $host (i32.const -16) (i32.const 32) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 117)) (then ;; u: host call, namespace outside memory
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const -16) (i32.const 32) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 118)) (then ;; v: host call, operation outside memory
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const -16) (i32.const 32) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 119)) (then ;; w: host call, payload outside memory
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const -16) (i32.const 32)))))
    (if (i32.eq (local.get $wish) (i32.const 120)) (then ;; x: host call, operation not UTF-8
      (drop (call $host (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 0) (i32.const 80) (i32.const 2) (i32.const 80) (i32.const 0)))))
    (if (i32.eq (local.get $wish) (i32.const 121)) (then ;; y: traps
      unreachable))
    (if (i32.eq (local.get $wish) (i32.const 122)) (then ;; z: traps with words
      (call $say (i32.const 2) (i32.const 64) (i32.const 9)) unreachable))
    (if (i32.eq (local.get $wish) (i32.const 65)) (then ;; A: answers with what the host said, asked twice
      (call $want (i32.const 0) (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2)))
      (drop (call $readAll))
      (call $want (i32.const 0) (call $javy (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2)))
      (call $say (i32.const 1) (i32.const 8192) (call $readAll)) (call $exit (i32.const 0))))
    (if (i32.eq (local.get $wish) (i32.const 66)) (then ;; B: fails with what the host said
      (call $want (i32.const 1) (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2)))
      (call $say (i32.const 2) (i32.const 8192) (call $readAll)) (call $exit (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 67)) (then ;; C: grows its memory and accepts
      (drop (memory.grow (i32.const 16))) (i32.store (i32.const 1000000) (i32.const 7))))
    (if (i32.eq (local.get $wish) (i32.const 68)) (then ;; D: grows its memory for ever
      (loop $again (drop (memory.grow (i32.const 1))) (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 69)) (then ;; E: fills its memory for ever
      (drop (memory.grow (i32.const 500))) (loop $again (memory.fill (i32.const 65536) (i32.const 1) (i32.const 32768000)) (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 70)) (then ;; F: answers with all its memory
      (drop (memory.grow (i32.const 500))) (call $say (i32.const 1) (i32.const 0) (i32.const 32768000))))
    (if (i32.eq (local.get $wish) (i32.const 71)) (then ;; G: says a lot on standard error, and leaves with 1
      (drop (memory.grow (i32.const 500))) (memory.fill (i32.const 65536) (i32.const 120) (i32.const 32768000)) (call $say (i32.const 2) (i32.const 65536) (i32.const 32768000)) (call $exit (i32.const 1))))
    (if (i32.eq (local.get $wish) (i32.const 72)) (then ;; H: loops
      (loop $again (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 73)) (then ;; I: asks the host for ever
      (loop $again (drop (call $host (i32.const 90) (i32.const 10) (i32.const 100) (i32.const 4) (i32.const 105) (i32.const 4) (i32.const 110) (i32.const 2))) (br $again))))
    (if (i32.eq (local.get $wish) (i32.const 74)) (then ;; J: uses up the stack
      (call $deep)))
    (if (i32.eq (local.get $wish) (i32.const 75)) (then ;; K: sleeps for an hour
      (i64.store (i32.const 4096) (i64.const 5)) (i32.store8 (i32.const 4104) (i32.const 0))
      (i32.store (i32.const 4112) (i32.const 1)) (i64.store (i32.const 4120) (i64.const 3600000000000))
      (call $want (i32.const 0) (call $poll (i32.const 4096) (i32.const 5000) (i32.const 1) (i32.const 264)))
      (if (i32.ne (i32.load (i32.const 264)) (i32.const 1)) (then unreachable))
      (if (i64.ne (i64.load (i32.const 5000)) (i64.const 5)) (then unreachable))
      (loop $again (br $again))))
    (call $say (i32.const 1) (i32.const 0) (i32.const 30))
    (call $exit (i32.const 0))))
