//! A server's disk that fails on demand: see `preload/faults.rs`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    SyncFails,
    SyncWaits,
    WriteFails,
    DiskFull,
    TableFull,
}

impl Fault {
    fn file(self) -> &'static str {
        match self {
            Self::SyncFails => "sync-fails",
            Self::SyncWaits => "sync-waits",
            Self::WriteFails => "write-fails",
            Self::DiskFull => "disk-full",
            Self::TableFull => "table-full",
        }
    }
}

/// The switches of one server.
pub struct Faults {
    control: PathBuf,
    library: PathBuf,
}

impl Faults {
    pub(crate) fn new(control: PathBuf) -> Self {
        // Where the tests are built the server's user may not read.
        let library = control.join("libfaults.so");
        fs::copy(env!("FAULTS_LIBRARY"), &library).expect("the library is there");
        for (path, mode) in [(&library, 0o755), (&control.join("durable"), 0o777)] {
            if !path.exists() {
                fs::create_dir(path).expect("a directory");
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its own file");
        }
        Self { control, library }
    }

    pub(crate) fn library(&self) -> &Path {
        &self.library
    }

    /// Since the last fault began.
    pub fn has_a_sync_failed(&self) -> bool {
        self.control.join("sync-failed").exists()
    }

    /// From now on.
    pub fn begin(&self, fault: Fault) {
        let _ = fs::remove_file(self.control.join("sync-failed"));
        fs::write(self.control.join(fault.file()), "").expect("a file");
        fs::write(self.control.join("on"), "").expect("a file");
    }

    /// No longer.
    pub fn end(&self, fault: Fault) {
        let _ = fs::remove_file(self.control.join(fault.file()));
    }

    /// The spool as it is found after a power cut: names and contents as of their last sync.
    pub(crate) fn leave_what_is_durable(&self) {
        let durable = self.control.join("durable");
        for entry in fs::read_dir(&durable).expect("a directory").flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = file.strip_suffix("%names") else {
                continue;
            };
            let dir = PathBuf::from(name.replace('%', "/"));
            if !dir.exists() {
                continue;
            }
            let owner = fs::metadata(&dir).expect("a directory");
            let names = fs::read_to_string(entry.path()).expect("names");
            for left in fs::read_dir(&dir).expect("a directory").flatten() {
                // The server's number was synced before it got its name.
                if left.path().is_file() && left.file_name() != "node" {
                    fs::remove_file(left.path()).expect("its own file");
                }
            }
            for file in names.lines().filter(|name| name.ends_with(".spool")) {
                let contents = fs::read(durable.join(format!("{name}%{file}"))).unwrap_or_default();
                let path = dir.join(file);
                fs::write(&path, contents).expect("a file");
                use std::os::unix::fs::MetadataExt as _;
                let _ = chown(&path, Some(owner.uid()), Some(owner.gid()));
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                    .expect("its own file");
            }
        }
    }
}
