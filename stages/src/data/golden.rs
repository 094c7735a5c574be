//! What Pillow and torchvision make of images (stages/golden/images.py).

use safetensors::{SafeTensors, tensor::TensorView};

use super::picture::Picture;

static BYTES: &[u8] = include_bytes!("../../golden/images.safetensors");

/// Returns every array whose name starts so, with the rest of its name, in order of name.
pub(crate) fn starting_with(prefix: &str) -> Vec<(String, TensorView<'static>)> {
    let tensors = SafeTensors::deserialize(BYTES).unwrap();
    let mut found: Vec<_> = tensors
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| Some((name.strip_prefix(prefix)?.to_owned(), view)))
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!found.is_empty(), "no golden array starts with `{prefix}`");
    found
}

/// Returns one array.
pub(crate) fn array(name: &str) -> TensorView<'static> {
    SafeTensors::deserialize(BYTES).unwrap().tensor(name).unwrap()
}

/// Returns the picture that augmentations were tried on.
pub(crate) fn picture() -> Picture {
    let view = array("augment");
    let [3, height, width] = view.shape()[..] else { panic!("three planes") };
    Picture::from_planes(height, width, view.data())
}

/// Checks a changed picture against three planes of torchvision's, `[3, height, width]` f32.
pub(crate) fn check_picture(name: &str, picture: &Picture, want: &TensorView<'_>, tolerance: f32) {
    assert_eq!(want.shape(), [3, picture.height, picture.width], "{name}");
    let area = picture.height * picture.width;
    for (number, bytes) in want.data().as_chunks::<4>().0.iter().enumerate() {
        let (want, got) =
            (f32::from_le_bytes(*bytes), picture.pixels[3 * (number % area) + number / area]);
        assert!((got - want).abs() <= tolerance, "{name}: {got} is not {want} at {number}");
    }
}
