//! The name of content: its BLAKE3 digest.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::large_file;

/// Files up to this many bytes are read in one go, on one thread.
const SMALL: u64 = 256 << 10;
/// How much is read at a time of a file that is not read by all threads.
const PIECE: usize = 1 << 20;

/// Digests bytes that come piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Hasher(blake3::Hasher);

impl Hasher {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if bytes.len() > SMALL as usize {
            self.0.update_rayon(bytes);
        } else {
            self.0.update(bytes);
        }
    }

    /// Returns the digest of all bytes so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// The BLAKE3 digest of some bytes; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.digest()
    }

    /// Returns the digest of what is left to read in `file`, and how many bytes that was.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn of_file(file: &mut File) -> io::Result<(Self, u64)> {
        let length = file.metadata()?.len();
        if length >= large_file::LEAST {
            let start = file.stream_position()?;
            let left = length.saturating_sub(start);
            if left >= large_file::LEAST {
                match large_file::digest(file, start, left) {
                    Ok(digest) => return Ok((Self(digest), left)),
                    // It became shorter meanwhile: what is left of it is read below.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let mut hasher = Hasher::default();
        let capacity = if length <= SMALL { length as usize + 1 } else { PIECE };
        let mut buffer = Vec::with_capacity(capacity);
        let mut total = 0;
        loop {
            buffer.clear();
            let read = file.take(capacity as u64).read_to_end(&mut buffer)?;
            total += read as u64;
            hasher.update(&buffer);
            if read < capacity {
                return Ok((hasher.digest(), total));
            }
        }
    }

    /// Returns the digest whose bytes these are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.pad(str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was read as a [`Digest`] is not 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest, which is 64 lower-case hexadecimal digits")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let bytes = text.as_bytes();
        let mut digest = [0; 32];
        let mut valid = bytes.len() == 64;
        for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => valid = false,
            }
        }
        if valid { Ok(Self(digest)) } else { Err(NotADigest(text.chars().take(80).collect())) }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl serde::de::Visitor<'_> for Hex {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn text_and_back() {
        let digest = Digest::of(b"");
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!(text[1..].parse::<Digest>().is_err());
        assert!(format!("{text}0").parse::<Digest>().is_err());
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn a_file_is_its_bytes_at_every_size() {
        let limits = [SMALL as usize, PIECE, 2 * PIECE, 3 * PIECE, 4 * PIECE];
        let around = limits.iter().flat_map(|n| [n - 1, *n, n + 1]);
        for size in [0, 1, 5 * PIECE + 70_001].into_iter().chain(around) {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            assert_eq!(Digest::of_file(&mut file).unwrap(), (Digest::of(&bytes), size as u64));
            let rest = &bytes[size / 3..];
            io::Seek::seek(&mut file, io::SeekFrom::Start(size as u64 / 3)).unwrap();
            let expected = (Digest::of(rest), rest.len() as u64);
            assert_eq!(Digest::of_file(&mut file).unwrap(), expected);
        }
    }
}
