//! Interleaved pixels taken apart into planes.

use super::instructions::vectorized;

vectorized! {
    /// Writes the three numbers of each pixel to their planes.
    pub(crate) fn split_pixels(pixels: &[u8], red: &mut [u8], green: &mut [u8], blue: &mut [u8]) {
        for (((pixel, red), green), blue) in pixels.chunks_exact(3).zip(red).zip(green).zip(blue) {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_pixels;

    #[test]
    fn each_number_goes_to_its_plane() {
        for count in [0, 1, 31, 64, 100] {
            let pixels: Vec<u8> = (0..3 * count).map(|place| place as u8).collect();
            let mut planes = [vec![0; count], vec![0; count], vec![0; count]];
            let [red, green, blue] = &mut planes;
            split_pixels(&pixels, red, green, blue);
            for (offset, plane) in planes.iter().enumerate() {
                let expected: Vec<u8> = (0..count).map(|at| (3 * at + offset) as u8).collect();
                assert_eq!(*plane, expected);
            }
        }
    }
}
