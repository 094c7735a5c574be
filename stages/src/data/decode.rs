//! Files to pixels: JPEG, PNG, BMP, PGM and PPM, upright and in RGB.

use std::io::Cursor;

use anyhow::{Context as _, bail, ensure};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg_bytes::Bytes;

/// No photograph has more pixels; a file that says so would fill the memory.
const MOST_PIXELS: usize = 1 << 27;

/// Decodes an image, whatever its file is called: turned as its EXIF orientation says, grey spread
/// to three channels, alpha dropped, 16 bits rounded to 8. Its pixels may lie in memory that held another's.
///
/// # Errors
///
/// When the bytes are no image of a known format, broken, or end too early.
pub(crate) fn decode(bytes: &[u8], memory: Vec<u8>) -> anyhow::Result<RgbImage> {
    ensure!(!bytes.is_empty(), "the file is empty");
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => decode_jpeg(bytes, memory),
        Ok(format @ (ImageFormat::Png | ImageFormat::Bmp | ImageFormat::Pnm)) => {
            drop(memory);
            decode_other(bytes, format)
        }
        _ => bail!("not an image: neither JPEG, PNG, BMP, PGM nor PPM"),
    }
}

fn decode_jpeg(bytes: &[u8], mut pixels: Vec<u8>) -> anyhow::Result<RgbImage> {
    ensure!(jpeg_ends(bytes), "the JPEG file is truncated");
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Bytes::new(bytes), options);
    decoder.decode_headers().context("broken JPEG file")?;
    let (width, height) = decoder.dimensions().context("broken JPEG file: it has no size")?;
    ensure!(width * height <= MOST_PIXELS, "an image of {width}x{height} is too large");
    // nothing of another image shall be seen, whatever a decoder leaves out
    pixels.clear();
    pixels.resize(3 * width * height, 0);
    decoder.decode_into(&mut pixels).context("broken JPEG file")?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = RgbImage::from_raw(width as u32, height as u32, pixels)
        .context("broken JPEG file: pixels are missing")?;
    Ok(upright(DynamicImage::ImageRgb8(image), orientation))
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> anyhow::Result<RgbImage> {
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Bmp => "BMP",
        _ => "PGM or PPM",
    };
    let broken = || format!("broken {name} file");
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().with_context(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    ensure!(pixels <= MOST_PIXELS as u64, "an image of {width}x{height} is too large");
    ensure!(pixels > 0, "{}: it has no pixels", broken());
    let orientation = decoder.orientation().ok();
    let image = DynamicImage::from_decoder(decoder).with_context(broken)?;
    Ok(upright(image, orientation))
}

fn upright(mut image: DynamicImage, orientation: Option<Orientation>) -> RgbImage {
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    image.into_rgb8()
}

/// Tells whether a JPEG file has its end marker. Decoders fill what is missing with grey; a network
/// would learn from that.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(start) = memchr::memchr(0xFF, rest) {
        rest = &rest[start + 1..];
        match rest.first() {
            Some(0xD9) => return true,
            // A stuffed zero, a fill byte, the start of the image, restarts: nothing follows them.
            Some(0x00 | 0x01 | 0xD0..=0xD8 | 0xFF) => {}
            // Any other marker has a segment, whose content may look like markers.
            Some(_) => match rest {
                [_, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    rest = rest.get(1 + length..).unwrap_or_default();
                }
                _ => return false,
            },
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{array, starting_with};
    use super::{decode, jpeg_ends};

    fn files() -> Vec<(String, Vec<u8>)> {
        starting_with("file.")
            .into_iter()
            .map(|(name, view)| (name, view.data().to_vec()))
            .collect()
    }

    #[test]
    fn pixels_are_those_of_pillow() {
        for (name, bytes) in files() {
            let image =
                decode(&bytes, Vec::new()).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            let want = array(&format!("decoded.{name}"));
            let size = [image.height() as usize, image.width() as usize, 3];
            assert_eq!(want.shape(), size, "{name}");
            let apart = image.as_raw().iter().zip(want.data()).map(|(a, b)| a.abs_diff(*b));
            let most = apart.clone().max().unwrap();
            let mean = apart.map(f64::from).sum::<f64>() / want.data().len() as f64;
            // Two decoders of JPEG may round differently; of the others not.
            let (highest, middle) = if name.ends_with(".jpg") { (4, 0.6) } else { (0, 0.0) };
            assert!(
                most <= highest && mean <= middle,
                "{name}: {most} at most, {mean:.3} on average"
            );
        }
    }

    #[test]
    fn nothing_of_an_image_before_is_seen() {
        let mut files = files();
        files.sort_by_key(|(_, bytes)| bytes.len());
        let twice: Vec<_> = files.iter().chain(files.iter().rev()).collect();
        let mut memory = vec![7; 1 << 20];
        for (name, bytes) in twice {
            let image = decode(bytes, memory).unwrap();
            assert!(image == decode(bytes, Vec::new()).unwrap(), "{name}");
            memory = image.into_raw();
        }
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        for (name, bytes) in files() {
            // The rows of a bitmap may be followed by padding that nobody needs.
            for end in (0..bytes.len() - 4).step_by(7) {
                assert!(
                    decode(&bytes[..end], Vec::new()).is_err(),
                    "{name} cut at {end} of {}",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let says = |bytes: &[u8], part: &str| {
            let error = format!("{:#}", decode(bytes, Vec::new()).unwrap_err());
            assert!(error.contains(part), "{error}");
        };
        says(b"", "the file is empty");
        says(b"GIF89a", "not an image");
        says(b"<html>404</html>", "not an image");
        let jpeg = array("file.420.jpg").data();
        says(&jpeg[..jpeg.len() - 2], "the JPEG file is truncated");
        says(b"P6 60000 60000 255\n", "an image of 60000x60000 is too large");
    }

    #[test]
    fn an_end_marker_inside_a_segment_is_not_the_end() {
        let thumbnail = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        assert!(!jpeg_ends(&thumbnail));
        assert!(jpeg_ends(
            &[&thumbnail[..], &[0xFF, 0xDA, 0, 2, 7, 0xFF, 0, 0xFF, 0xD3, 0xFF, 0xD9]].concat()
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn nothing_panics(
            file in 0..files().len(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            end in any::<Option<prop::sample::Index>>(),
        ) {
            let (_, mut bytes) = files().swap_remove(file);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(end) = end {
                bytes.truncate(end.index(bytes.len()));
            }
            if let Ok(image) = decode(&bytes, Vec::new()) {
                prop_assert!(image.width() > 0 && image.height() > 0);
            }
        }

        #[test]
        fn noise_with_any_signature_does_not_panic(
            signature in prop::sample::select(vec![
                &b"\xFF\xD8\xFF\xDB"[..], b"\x89PNG\r\n\x1a\n", b"BM", b"P5 ", b"P6\n", b"P4 ", b"P2 ", b"",
            ]),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(&[signature, &noise].concat(), Vec::new());
        }
    }
}
