//! The framing of TFRecord files: length, its checksum, data, its checksum.

use crate::crc32c::crc32c;

/// Appends one record: `u64` length, `u32` masked CRC of the length, the data, `u32` masked CRC of
/// the data, all little-endian.
pub(super) fn append(file: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&masked(&length).to_le_bytes());
    file.extend_from_slice(data);
    file.extend_from_slice(&masked(data).to_le_bytes());
}

/// TensorFlow rotates and shifts its checksums, since a CRC of data that holds its own CRC is weak.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn an_empty_record_is_sixteen_bytes() {
        let mut file = Vec::new();
        append(&mut file, b"");
        let expected = [0, 0, 0, 0, 0, 0, 0, 0, 0x29, 0x03, 0x98, 0x07, 0xD8, 0xEA, 0x82, 0xA2];
        assert_eq!(file, expected);
    }
}
