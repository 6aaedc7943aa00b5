//! Clients in other languages: the packages that programs written in them would use.
use bramble_tests::tools;

use crate::program::Program;

#[test]
fn python_etcd3() {
    if let Some(python) = tools::python() {
        let script = tools::workspace().join("tests/clients/python/client.py");
        Program::new(&python).arg(script).same_on_both();
    }
}

#[test]
fn rust_etcd_client() {
    if let Some(program) = tools::rust_client() {
        Program::new(&program).same_on_both();
    }
}

#[test]
fn java_jetcd() {
    if let Some((java, folder)) = tools::java_client() {
        // One short run: the best code is not worth waiting for.
        let quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"];
        let program = quick.iter().fold(Program::new(&java), |program, flag| program.arg(flag));
        program.arg(folder.join("*")).arg("javaclient.JavaClient").same_on_both();
    }
}
