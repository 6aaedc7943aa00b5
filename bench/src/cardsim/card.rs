//! A medium under a file system of this machine.
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use tempfile::TempDir;

use super::cache::{Cut, Grain};
use super::cost::{Model, Preset, Report};
use super::device::{self, FILE, Shared};
use super::leftovers;
use super::medium::{Fault, Medium, MediumCounts};
use super::timing::{SharedTiming, Timing};

/// What a card is formatted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 with its defaults.
    Ext4,
    /// xfs with its defaults; at least 300 MiB.
    Xfs,
}

impl FileSystem {
    /// Its name for `mkfs` and `mount`.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    fn mkfs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            // A card of usual size has blocks of 4 KiB; mkfs would take smaller ones on a small one.
            // Tables of inodes that the kernel zeroes behind the first mount would be in the account.
            FileSystem::Ext4 => {
                ("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0"])
            }
            FileSystem::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"]),
        }
    }
}

/// What card.
#[derive(Clone, Debug)]
pub struct CardOptions {
    /// Its size, a multiple of 4 KiB. It costs only what is written.
    pub bytes: u64,
    /// Its file system.
    pub file_system: FileSystem,
    /// Mount options beside the defaults, separated by commas.
    pub mount_options: String,
    /// Where its folder is made; the image lies there.
    pub within: PathBuf,
    /// What kind of card it is as slow as; `None`: it takes no time.
    pub preset: Option<Preset>,
}

impl CardOptions {
    /// An ext4 of 512 MiB with default options, in the folder for temporary files.
    pub fn ext4() -> CardOptions {
        let (file_system, mount_options) = (FileSystem::Ext4, String::new());
        let within = std::env::temp_dir();
        CardOptions { bytes: 512 << 20, file_system, mount_options, within, preset: None }
    }

    /// The same with xfs.
    pub fn xfs() -> CardOptions {
        CardOptions { file_system: FileSystem::Xfs, ..CardOptions::ext4() }
    }
}

/// Why something could not be done with a card.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The system said no.
    #[error("{what}: {source}")]
    Io {
        /** What was tried. */
        what: String,
        /** What it said. */
        source: io::Error,
    },
    /// A command said no.
    #[error("{command} failed: {said}")]
    Command {
        /** With its arguments. */
        command: String,
        /** Its standard error. */
        said: String,
    },
}

pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> CardError {
    let what = what.into();
    move |source| CardError::Io { what, source }
}

/// Runs a command; what it printed.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, CardError> {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command.output().map_err(doing(program))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CardError::Command { command: format!("{command:?}"), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How long the kernel may need to let go of something.
const LET_GO: Duration = Duration::from_secs(20);

/// A card in its slot. Dropping it takes everything down again.
///
/// ```text
///              ┌── cut, or unplug ──┐
/// make ─► plugged in             dark ─ power_on, or plug_in ─► plugged in …
/// ```
pub struct Card {
    medium: Shared,
    timing: SharedTiming,
    options: CardOptions,
    session: Option<BackgroundSession>,
    loop_device: Option<String>,
    mounted: bool,
    /// Holds the image and the two mount points; the last to go.
    dir: TempDir,
}

impl Card {
    /// What this machine lacks for such a card; `None` when one can be made.
    pub fn missing(file_system: FileSystem) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("root, who may mount".to_owned());
        }
        let devices = ["/dev/fuse", "/dev/loop-control"].map(Path::new);
        if let Some(device) = devices.into_iter().find(|device| !device.exists()) {
            return Some(device.display().to_string());
        }
        let programs = [file_system.mkfs().0, "losetup", "mount", "umount"];
        let there = |program: &str| Command::new(program).arg("-V").output().is_ok();
        programs.into_iter().find(|program| !there(program)).map(str::to_owned)
    }

    /// A formatted and mounted card.
    ///
    /// # Errors
    /// What the system refused.
    pub fn make(options: CardOptions) -> Result<Card, CardError> {
        leftovers::clear();
        let prefix = format!("{}{}-", leftovers::FOLDER, std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(&options.within);
        let dir = dir.map_err(doing("the card's folder"))?;
        let image = File::options().read(true).write(true).create_new(true).open(dir.path().join("image"));
        let medium = image.and_then(|image| Medium::new(image, options.bytes)).map_err(doing("the image"))?;
        let medium = Shared::new(medium);
        for folder in ["fuse", "files"] {
            std::fs::create_dir(dir.path().join(folder)).map_err(doing(folder))?;
        }
        let timing = SharedTiming::default();
        let session = device::mount(medium.clone(), timing.clone(), &dir.path().join("fuse"));
        let session = Some(session.map_err(doing("FUSE"))?);
        let mut card = Card { medium, timing, options, session, loop_device: None, mounted: false, dir };
        card.format()?;
        // Making the file system took no time.
        card.medium.lock().write_through(card.has_no_cache());
        *card.timing.lock() = card.options.preset.map(|preset| Timing::new(Model::new(preset)));
        Ok(card)
    }

    /// A new file system on it, mounted. What was on it is gone.
    ///
    /// # Errors
    /// What the system refused.
    pub fn format(&mut self) -> Result<(), CardError> {
        self.unplug()?;
        self.attach()?;
        let (mkfs, options) = self.options.file_system.mkfs();
        run(mkfs, options.iter().copied().chain(self.loop_device.as_deref()))?;
        self.medium.lock().flush().map_err(doing("flushing the fresh file system"))?;
        self.mount()
    }

    /// Where its files are.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// What is on the medium, byte by byte, without what is in its cache.
    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Its file system.
    pub fn file_system(&self) -> FileSystem {
        self.options.file_system
    }

    /// Mounts it with other options from the next time on.
    pub fn set_mount_options(&mut self, options: &str) {
        options.clone_into(&mut self.options.mount_options);
    }

    /// What was done to it so far.
    pub fn counts(&self) -> MediumCounts {
        self.medium.lock().counts()
    }

    /// Begins the account of what is done to it anew; every request from now on is written to `record`, too, in
    /// the form of a trace. Nothing happens on a card without a preset.
    pub fn open_account(&self, record: Option<Box<dyn Write + Send>>) {
        if let Some(timing) = &mut *self.timing.lock() {
            timing.open_account(record);
        }
    }

    /// What was done to it since the account was opened, and what that did to its flash; `None` without a preset.
    ///
    /// # Errors
    /// The record's.
    pub fn account(&self) -> Result<Option<Report>, CardError> {
        let mut timing = self.timing.lock();
        timing.as_mut().map(Timing::report).transpose().map_err(doing("writing the record"))
    }

    /// Whether it has power.
    pub fn powered(&self) -> bool {
        self.medium.lock().powered()
    }

    /// Lets calls to the disk fail; `None`: they go well again.
    pub fn fail(&self, fault: Option<Fault>) {
        self.medium.lock().fail(fault);
    }

    /// The smallest piece for cuts from now on; a sector when nothing is said.
    pub fn set_grain(&self, grain: Grain) {
        self.medium.lock().set_grain(grain);
    }

    /// Stands still for so long: writes and flushes are carried out, and nobody is told until it is over.
    pub fn stall(&self, duration: Duration) -> Instant {
        let end = Instant::now() + duration;
        self.timing.stall_until(end);
        end
    }

    /// From now on a flush is answered and not done, or done again.
    pub fn lie(&self, lies: bool) {
        self.medium.lock().lie(lies);
    }

    /// Damages one bit on the medium. What the system has in memory stays as it was, so unplug it first.
    ///
    /// # Errors
    /// The image's.
    pub fn flip(&self, offset: u64, bit: u8) -> Result<(), CardError> {
        self.medium.lock().flip(offset, bit).map_err(doing("flipping a bit"))
    }

    /// The power goes. Processes that use it get errors from now on; end them before [`Card::power_on`].
    ///
    /// # Errors
    /// The image's.
    pub fn cut(&self, cut: Cut, seed: u64) -> Result<(), CardError> {
        self.medium.lock().cut(cut, seed).map_err(doing("cutting the power"))
    }

    /// The power will go in place of the next write or flush but `after`.
    pub fn cut_at(&self, after: u64, cut: Cut, seed: u64) {
        self.medium.lock().cut_at(after, cut, seed);
    }

    /// The power comes back: what the system remembered of the card is forgotten, and it is mounted anew,
    /// by which the file system replays its journal.
    ///
    /// # Errors
    /// What the system refused: a card in use, or a file system that is no more.
    pub fn power_on(&mut self) -> Result<(), CardError> {
        self.unplug()?;
        self.medium.lock().power_on();
        self.plug_in()
    }

    /// Takes it out in good order, if it has power.
    ///
    /// # Errors
    /// What the system refused: a card in use.
    pub fn unplug(&mut self) -> Result<(), CardError> {
        self.unmount()?;
        self.detach()
    }

    /// Puts it in again and mounts it.
    ///
    /// # Errors
    /// What the system refused: a file system that is no more.
    pub fn plug_in(&mut self) -> Result<(), CardError> {
        self.attach()?;
        self.mount()
    }

    fn attach(&mut self) -> Result<(), CardError> {
        let file = self.dir.path().join("fuse").join(FILE);
        let arguments = ["--find", "--show", "--direct-io=on"].map(OsStr::new);
        let device = run("losetup", arguments.into_iter().chain([file.as_os_str()]))?;
        let name = device.trim_start_matches("/dev/").to_owned();
        self.loop_device = Some(device);
        // What has no cache is sent no flushes. The kernel believes what is written here, and keeps it for whoever
        // has the device next, so it is said every time.
        let cache = if self.has_no_cache() { "write through" } else { "write back" };
        let setting = format!("/sys/block/{name}/queue/write_cache");
        std::fs::write(&setting, cache).map_err(doing(setting))?;
        Ok(())
    }

    fn has_no_cache(&self) -> bool {
        self.options.preset.is_some_and(|preset| preset.flush_s.is_none())
    }

    fn mount(&mut self) -> Result<(), CardError> {
        let files = self.files();
        let mut arguments = vec![OsStr::new("-t"), OsStr::new(self.options.file_system.name())];
        if !self.options.mount_options.is_empty() {
            arguments.extend([OsStr::new("-o"), OsStr::new(&self.options.mount_options)]);
        }
        arguments.extend(self.loop_device.as_deref().map(OsStr::new));
        arguments.push(files.as_os_str());
        run("mount", arguments)?;
        self.mounted = true;
        Ok(())
    }

    /// Processes that were just killed may hold it for a moment.
    fn unmount(&mut self) -> Result<(), CardError> {
        let deadline = Instant::now() + LET_GO;
        while self.mounted {
            match run("umount", [self.files()]) {
                Ok(_) => self.mounted = false,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<(), CardError> {
        let Some(device) = self.loop_device.take() else { return Ok(()) };
        run("losetup", ["--detach", &device])?;
        // Detaching is done later when somebody still looks at the device.
        let backing = format!("/sys/block/{}/loop", device.trim_start_matches("/dev/"));
        let deadline = Instant::now() + LET_GO;
        while Path::new(&backing).exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Err(error) = self.unplug() {
            eprintln!("the card in {} was not taken down: {error}", self.dir.path().display());
        }
        // Unmounts; its thread ends.
        drop(self.session.take());
    }
}
