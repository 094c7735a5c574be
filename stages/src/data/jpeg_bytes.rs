//! A file in memory, as the JPEG decoder reads it: a few bytes at a time, in its innermost loop.

use zune_jpeg::zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZSeekFrom};

/// Bytes, and which is read next; that may lie beyond the last. The library's own `ZCursor` copies four
/// bytes by a call that can copy any number, which costs a decoding a tenth of its time.
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.next..).unwrap_or_default()
    }
}

impl ZByteReaderTrait for Bytes<'_> {
    #[inline(always)]
    fn read_byte_no_error(&mut self) -> u8 {
        let Some(&byte) = self.bytes.get(self.next) else { return 0 };
        self.next += 1;
        byte
    }

    #[inline(always)]
    fn read_exact_bytes(&mut self, to: &mut [u8]) -> Result<(), ZByteIoError> {
        self.peek_exact_bytes(to)?;
        self.next += to.len();
        Ok(())
    }

    fn read_bytes(&mut self, to: &mut [u8]) -> Result<usize, ZByteIoError> {
        let count = self.peek_bytes(to)?;
        self.next += count;
        Ok(count)
    }

    fn peek_bytes(&mut self, to: &mut [u8]) -> Result<usize, ZByteIoError> {
        let rest = self.rest();
        let count = rest.len().min(to.len());
        to[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    #[inline(always)]
    fn peek_exact_bytes(&mut self, to: &mut [u8]) -> Result<(), ZByteIoError> {
        let rest = self.rest();
        let from =
            rest.get(..to.len()).ok_or(ZByteIoError::NotEnoughBytes(rest.len(), to.len()))?;
        to.copy_from_slice(from);
        Ok(())
    }

    #[inline(always)]
    fn z_seek(&mut self, from: ZSeekFrom) -> Result<u64, ZByteIoError> {
        let next = match from {
            ZSeekFrom::Start(place) => usize::try_from(place).ok(),
            ZSeekFrom::End(moved) => self.bytes.len().checked_add_signed(moved as isize),
            ZSeekFrom::Current(moved) => self.next.checked_add_signed(moved as isize),
        };
        self.next = next.ok_or(ZByteIoError::SeekError("a place before the first byte"))?;
        Ok(self.next as u64)
    }

    #[inline(always)]
    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        Ok(self.next >= self.bytes.len())
    }

    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        Ok(self.next as u64)
    }

    fn read_remaining(&mut self, to: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        let rest = self.rest();
        to.extend_from_slice(rest);
        self.next += rest.len();
        Ok(rest.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zune_jpeg::zune_core::bytestream::{ZByteReaderTrait, ZCursor, ZSeekFrom};

    use super::Bytes;

    /// Does one thing to a reader and returns what came of it.
    fn act(reader: &mut impl ZByteReaderTrait, what: u8, count: usize) -> (Option<u64>, Vec<u8>) {
        let mut bytes = vec![0; count];
        let moved = count as i64 - 5;
        let found = match what {
            0 => Some(u64::from(reader.read_byte_no_error())),
            1 => reader.read_exact_bytes(&mut bytes).ok().map(|()| 0),
            2 => reader.read_bytes(&mut bytes).ok().map(|count| count as u64),
            3 => reader.peek_bytes(&mut bytes).ok().map(|count| count as u64),
            4 => reader.peek_exact_bytes(&mut bytes).ok().map(|()| 0),
            5 => reader.z_seek(ZSeekFrom::Start(count as u64)).ok(),
            6 => reader.z_seek(ZSeekFrom::End(moved)).ok(),
            7 => reader.z_seek(ZSeekFrom::Current(moved)).ok(),
            _ => reader.is_eof().ok().map(u64::from),
        };
        // what a failed read leaves in the bytes is nothing to rely on
        let bytes = if found.is_some() { bytes } else { Vec::new() };
        (found, bytes)
    }

    proptest! {
        #[test]
        fn it_reads_as_the_library_does(
            bytes in proptest::collection::vec(any::<u8>(), 0..12),
            acts in proptest::collection::vec((0_u8..9, 0_usize..9), 0..20),
        ) {
            let (mut ours, mut theirs) = (Bytes::new(&bytes), ZCursor::new(&bytes[..]));
            for (what, count) in acts {
                prop_assert_eq!(act(&mut ours, what, count), act(&mut theirs, what, count));
                prop_assert_eq!(ours.z_position().unwrap(), theirs.z_position().unwrap());
            }
        }
    }
}
