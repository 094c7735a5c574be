//! The protocol buffers `Event` and `Summary` of TensorBoard, as far as scalars need them.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Encodes `Event { file_version }`, the first of every file.
pub(super) fn version() -> Vec<u8> {
    let mut event = Vec::new();
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// Encodes `Event { wall_time, step, summary }` with one `Summary.Value { tag, simple_value }` for
/// each scalar; the wall time is the step.
pub(super) fn scalars(step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for &(tag, value) in scalars {
        let mut entry = Vec::new();
        bytes(&mut entry, 1, tag.as_bytes());
        key(&mut entry, 2, FIXED32);
        entry.extend_from_slice(&(value as f32).to_le_bytes());
        bytes(&mut summary, 1, &entry);
    }
    let mut event = Vec::new();
    // Protocol buffers leave out zeros.
    if step > 0 {
        key(&mut event, 1, FIXED64);
        event.extend_from_slice(&(step as f64).to_le_bytes());
        key(&mut event, 2, VARINT);
        varint(&mut event, step);
    }
    bytes(&mut event, 5, &summary);
    event
}

fn key(message: &mut Vec<u8>, field: u64, wire: u64) {
    varint(message, field << 3 | wire);
}

fn bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(message, field, BYTES);
    varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::varint;

    #[test]
    fn varints_are_seven_bits_a_byte() {
        let check = |value: u64, expected: &[u8]| {
            let mut message = Vec::new();
            varint(&mut message, value);
            assert_eq!(message, expected);
        };
        check(0, &[0]);
        check(127, &[0x7F]);
        check(300, &[0xAC, 0x02]);
        check(u64::MAX, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
    }
}
