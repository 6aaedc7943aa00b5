//! The rules. A new arrow is a change here, with its reason.

/// The top level, exactly (dotfiles and what git ignores aside).
pub const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "proto",
    "server",
    "store",
    "tests",
    "tools",
];

/// The longest a file may be, outside generated code.
pub const FILE_LINES_MAX: usize = 600;

/// Files under `under`, except those under `except`, never name these crates or modules in code.
pub struct Names {
    pub under: &'static [&'static str],
    pub except: &'static [&'static str],
    pub never: &'static [&'static str],
    pub because: &'static str,
}

impl Names {
    /// Whether the rule is about this file.
    pub fn applies(&self, path: &str) -> bool {
        let among = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        path.ends_with(".rs") && among(self.under) && !among(self.except)
    }
}

/// Down or right, never up.
pub const NAMES: &[Names] = &[
    Names {
        under: &["store/", "server/", "tools/", "proto/", "bench/", "tests/"],
        except: &["store/src/engine/rocks", "store/bindgen/", "tests/tidy/"],
        never: &["rocksdb"],
        because: "one file knows which engine it is",
    },
    Names {
        under: &["store/", "server/", "tools/", "proto/", "bench/", "tests/"],
        except: &["server/src/raft/", "tests/tidy/"],
        never: &["openraft", "openraft_rt", "openraft_rt_tokio", "openraft_macros"],
        because: "openraft lives in one folder",
    },
    Names {
        under: &["store/src/"],
        except: &[],
        never: &["tokio", "tonic", "prost", "bramble_proto", "bramble_server", "rand", "getrandom"],
        because: "the store can be embedded without a runtime, a wire or chance",
    },
    Names {
        under: &["store/src/mvcc/"],
        except: &[],
        never: &[
            "crate::lease",
            "crate::auth",
            "crate::watch",
            "crate::alarm",
            "crate::state",
            "crate::store",
        ],
        because: "siblings do not know each other; the parent composes",
    },
    Names {
        under: &["store/src/lease/", "store/src/auth/", "store/src/alarm", "store/src/members"],
        except: &[],
        never: &["crate::mvcc", "crate::watch", "crate::state", "crate::store"],
        because: "siblings do not know each other; the parent composes",
    },
    Names {
        under: &["store/src/log/", "store/src/disk/", "store/src/engine/"],
        except: &[],
        never: &["crate::mvcc", "crate::watch", "crate::lease", "crate::state", "crate::store"],
        because: "what stores bytes does not know what they mean",
    },
    Names {
        under: &["server/src/rpc/"],
        except: &[],
        never: &["crate::raft", "crate::peer", "bramble_store::state", "bramble_store::engine"],
        because: "the services are the in-process client plus conversion",
    },
    Names {
        under: &["server/src/peer/"],
        except: &[],
        never: &["crate::node", "crate::rpc"],
        because: "peers hand on to an inbox",
    },
    Names {
        under: &["server/src/raft/"],
        except: &[],
        never: &["crate::node", "crate::rpc", "crate::http", "bramble_store::state"],
        because: "consensus does not know what is agreed on",
    },
    Names {
        under: &["server/src/node/"],
        except: &[],
        never: &["bramble_proto"],
        because: "only rpc sees both vocabularies",
    },
    Names {
        under: &["server/src/"],
        // What people read (logs, metrics), how long a signed token serves, and when a certificate file changed.
        except: &[
            "server/src/logging/",
            "server/src/rpc/slow.rs",
            "server/src/metrics/",
            "server/src/auth/jwt",
            "server/src/tls.rs",
            "server/src/wear/calendar.rs",
        ],
        never: &["SystemTime", "UNIX_EPOCH"],
        because: "a board has no clock when it boots: leases, elections and files follow the monotonic one",
    },
    Names {
        under: &["tools/", "bench/"],
        except: &[],
        never: &["bramble_server"],
        because: "a tool must open data that the server cannot",
    },
];

/// Words that no Rust code may hold, with the reason.
pub const NEVER_ANYWHERE: &[(&str, &str)] = &[
    ("todo!(", "nothing is left open"),
    ("unimplemented!(", "nothing is left open"),
    ("#[ignore", "a test that does not run proves nothing"),
    (".unwrap()", "say why it cannot be"),
    ("mod utils;", "a file holds one idea, and that is not one"),
    ("mod util;", "a file holds one idea, and that is not one"),
    ("Manager ", "a noun a person would say"),
    ("Manager;", "a noun a person would say"),
    ("Helper ", "a noun a person would say"),
];

/// Crates whose names begin so are not for the store.
pub const STORE_DEPENDENCIES: &[&str] =
    &["tokio", "tonic", "prost", "bramble-proto", "bramble-server", "rand", "getrandom", "openraft", "hyper"];

/// Paths that exist on somebody's machine and nowhere else, in lower case.
pub const PRIVATE_PATHS: &[&str] = &["/home/", "/root/", "/users/"];

/// What the store asks nobody: time, threads, the network. The disk seam's real side is `store/src/disk`.
pub const STORE_ASKS_NOBODY: Names = Names {
    under: &["store/src/"],
    except: &["store/src/engine/rocks"],
    never: &["Instant", "SystemTime", "thread::spawn", "std::net", "TcpStream", "UdpSocket"],
    because: "the same calls give the same results: no clock, no threads, no sockets",
};
