//! Text files that a person wrote: read whole, bounded, in UTF-8.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::yaml::At;

/// How long a pipe may be silent. Whoever writes to it may have to type a password first; but one that nobody writes to must
/// not be waited for for ever, as when it stands where a file stood that is read again.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is a directory")]
    Directory,
    #[error("it is a pipe, through which nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    /// Its size, where that was announced, and the most that is read.
    #[error("it is larger than {}{}", bound(*limit), announced(*size))]
    TooLarge { size: Option<u64>, limit: u64 },
    #[error("it is not UTF-8 at line {}, column {}", .0.line, .0.column)]
    NotUtf8(At),
}

/// Reads a file of at most `limit` bytes; a byte order mark at its start is left out.
pub fn read(path: &Path, limit: u64) -> Result<String, ReadError> {
    let mut text = String::from_utf8(read_bytes(path, limit)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ReadError::NotUtf8(end(&String::from_utf8_lossy(valid)))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Reads a file of at most `limit` bytes, whatever they are.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    read_within(path, limit, SILENCE)
}

fn read_within(path: &Path, limit: u64, silence: Duration) -> Result<Vec<u8>, ReadError> {
    // Else to open a pipe would wait for somebody to write to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ReadError::Directory);
    }
    if about.len() > limit {
        return Err(ReadError::TooLarge { size: Some(about.len()), limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default());
    // The length may be unknown (a pipe) or grow meanwhile, so what comes is bounded, not what was announced.
    if about.file_type().is_fifo() {
        let mut pipe = Pipe { file, silence }.take(limit + 1);
        pipe.read_to_end(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => ReadError::Silent(silence),
            _ => error.into(),
        })?;
    } else {
        fcntl_setfl(&file, OFlags::empty()).map_err(io::Error::from)?;
        file.take(limit + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { size: None, limit });
    }
    Ok(bytes)
}

/// A pipe that does not block, read to its end.
struct Pipe {
    file: File,
    silence: Duration,
}

impl Read for Pipe {
    /// Waits for bytes or the end. Before anybody has opened it to write there is neither (pipe(7)).
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let patience = self.silence.try_into().map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&patience))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => self.file.read(buffer),
        }
    }
}

/// The directory that a file stands in: of a bare name, the one that exeat was started in.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    }
}

fn bound(limit: u64) -> String {
    match limit >> 20 {
        0 => format!("{limit} bytes"),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

fn announced(size: Option<u64>) -> String {
    size.map(|size| format!(": {size} bytes")).unwrap_or_default()
}

/// The position behind a text.
fn end(text: &str) -> At {
    let line = text.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    At { line: number(line), column: number(column) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn a_bare_name_stands_in_the_directory_of_the_start() {
        for (path, expected) in [
            ("users", "."),
            ("./users", "."),
            ("etc/users", "etc"),
            ("../users", ".."),
            ("/users", "/"),
            ("/etc/exeat/users", "/etc/exeat"),
        ] {
            assert_eq!(directory(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        for (bytes, expected) in [
            (&b"a\nb"[..], Ok("a\nb")),
            (b"\xef\xbb\xbfa", Ok("a")),
            (b"", Ok("")),
            (b"12345678", Ok("12345678")),
            (b"123456789", Err("it is larger than 8 bytes: 9 bytes")),
            (b"\xc3\xa4\n\xc3\xa4b\xff", Err("it is not UTF-8 at line 2, column 3")),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let read = read(&path, 8).map_err(|error| error.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{bytes:?}");
        }
        // What never ends announces nothing.
        let endless = read(Path::new("/dev/zero"), 3 << 20).map_err(|error| error.to_string());
        assert_eq!(endless, Err("it is larger than 3 MiB".to_owned()));
        assert!(matches!(read(directory.path(), 8), Err(ReadError::Directory)));
        assert!(matches!(read(&directory.path().join("none"), 8), Err(ReadError::Io(_))));
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_nobody_waits_for_ever_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (brief, long) = (Duration::from_millis(50), Duration::from_secs(60));
        let told = |silence| read_within(&path, 8, silence).map_err(|error| error.to_string());
        let silent = "it is a pipe, through which nothing came for 0 s";
        assert_eq!(told(brief), Err(silent.to_owned()));
        for (bytes, expected) in [
            (&b"12345678"[..], Ok(b"12345678".to_vec())),
            (b"", Ok(Vec::new())),
            (b"123456789", Err("it is larger than 8 bytes".to_owned())),
        ] {
            let path = path.clone();
            let writer = thread::spawn(move || {
                let mut pipe = File::options().write(true).open(path).unwrap();
                let (first, rest) = bytes.split_at(bytes.len() / 2);
                [first, rest].iter().for_each(|part| pipe.write_all(part).unwrap());
            });
            assert_eq!(told(long), expected);
            writer.join().unwrap();
        }
        // Somebody holds it open, and does not go on.
        let _held = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(told(brief), Err(silent.to_owned()));
    }
}
