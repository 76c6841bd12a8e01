//! The file that records go to: appended to, line by line, and known again when it is opened anew.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// Where lines are appended.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// Whether what was there ends in the middle of a line: whoever wrote it found no more room, or was killed.
    torn: bool,
}

impl Output {
    /// The standard output for `-`, else a file that only its owner may write and its group may read: it says who went where.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            let file = io::stdout().as_fd().try_clone_to_owned().map(File::from)?;
            return Ok(Self { file, torn: false });
        }
        let file = append_to(path).map_err(|error| {
            let what = match error {
                Errno::NXIO => "it is a named pipe that nobody reads, or no file".to_owned(),
                error => io::Error::from(error).to_string(),
            };
            io::Error::new(
                io::Error::from(error).kind(),
                format!("can't append to {}: {what}", path.display()),
            )
        })?;
        // A file that may be written but not read is taken to be whole.
        let torn = ends_within_a_line(&file, path).unwrap_or(false);
        Ok(Self { file, torn })
    }

    /// Whether both lead to one file.
    pub(super) fn is(&self, other: &Self) -> io::Result<bool> {
        let (one, other) = (self.file.metadata()?, other.file.metadata()?);
        Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    /// Appends as much as there is room for; never to a line of somebody else.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        self.file.write(bytes)
    }
}

fn append_to(path: &Path) -> rustix::io::Result<File> {
    // To open a named pipe that nobody reads would otherwise take until somebody does.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))?;
    // A write waits for whoever reads it, as it does for a disk.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file.into())
}

fn ends_within_a_line(file: &File, path: &Path) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut last = [0];
    File::from(rustix::fs::open(path, flags, Mode::empty())?).read_exact_at(&mut last, metadata.len() - 1)?;
    Ok(last != *b"\n")
}
