//! Any command line, environment and configuration file: read, or refused with a text and an exit code.
//! The input: number of words, the words, number of variables, name and text of each, then the file.
#![no_main]
use std::sync::OnceLock;

use bramble_server::config;
use bramble_server_fuzz::Parts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    static PATH: OnceLock<String> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let name = format!("bramble-fuzz-config-{}", std::process::id());
        std::env::temp_dir().join(name).to_string_lossy().into_owned()
    });
    let mut parts = Parts::new(input);
    let mut words = vec!["bramble".to_owned()];
    words.extend((0..parts.byte() % 8).map(|_| parts.text()));
    let variables: Vec<_> = (0..parts.byte() % 8).map(|_| (parts.text(), parts.text())).collect();
    // Only the file that is written here.
    words.retain(|word| !word.contains("config-file"));
    let file = parts.all();
    if !file.is_empty() {
        std::fs::write(path, file).expect("a writable folder");
        words.insert(1, format!("--config-file={path}"));
    }
    let variables = variables.into_iter().filter(|(name, _)| name != "ETCD_CONFIG_FILE");
    if let Err(refused) = config::read(&words, variables) {
        assert!(!refused.to_string().is_empty() && refused.exit_code() != 0);
    }
});
