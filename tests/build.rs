//! Compiles the library that is preloaded into servers whose disk is to fail. It is no target of
//! this package: its functions stand in front of the C library's.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    const SOURCE: &str = "preload/faults.rs";
    println!("cargo:rerun-if-changed={SOURCE}");
    let library =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo")).join("libfaults.so");
    let compiled = Command::new(std::env::var_os("RUSTC").expect("set by cargo"))
        .args([
            "--edition=2024",
            "--crate-type=cdylib",
            "-O",
            "-Cpanic=abort",
            "-o",
        ])
        .arg(&library)
        .arg(SOURCE)
        .status()
        .expect("rustc runs");
    assert!(compiled.success(), "{SOURCE} does not compile");
    println!("cargo:rustc-env=FAULTS_LIBRARY={}", library.display());
}
