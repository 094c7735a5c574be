//! The sum of bytes, and of their squares.

use super::instructions::vectorized;

/// Bytes whose sum of squares fits 32 bits, so that the compiler can use vectors.
const BLOCK: usize = 1 << 15;

vectorized! {
    /// Adds the sum of the bytes, and that of their squares.
    pub(crate) fn byte_sums(bytes: &[u8], sums: &mut [u64; 2]) {
        for block in bytes.chunks(BLOCK) {
            let (mut value, mut square) = (0_u32, 0_u32);
            for &byte in block {
                value += u32::from(byte);
                square += u32::from(byte) * u32::from(byte);
            }
            sums[0] += u64::from(value);
            sums[1] += u64::from(square);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::byte_sums;

    #[test]
    fn no_byte_is_left_out_and_nothing_overflows() {
        for count in [0, 1, 63, 200, 32_768, 32_769, 100_003] {
            let bytes: Vec<u8> = (0..count).map(|at| (at * 31 % 256) as u8).collect();
            let mut sums = [7, 9];
            byte_sums(&bytes, &mut sums);
            let value: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
            let square: u64 = bytes.iter().map(|&byte| u64::from(byte).pow(2)).sum();
            assert_eq!(sums, [7 + value, 9 + square]);
            let mut white = [0; 2];
            byte_sums(&vec![255; count], &mut white);
            assert_eq!(white, [255 * count as u64, 65_025 * count as u64]);
        }
    }
}
