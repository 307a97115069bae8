// rustc --target wasm32-wasi -C opt-level=s -C lto -C panic=abort -C strip=symbols policy_rust.rs -o policy_rust.wasm
//
// Refuses what mentions "forbidden".
use std::io::Read;

fn main() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("input");
    if std::env::args().nth(1).as_deref() == Some("validate-settings") {
        println!("{{\"valid\":true}}");
    } else if input.contains("forbidden") {
        println!("{{\"accepted\":false,\"message\":\"it is forbidden\"}}");
    } else {
        println!("{{\"accepted\":true}}");
    }
}
