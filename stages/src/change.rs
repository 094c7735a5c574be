//! What an augmentation has drawn for one picture: made by the CPU here, or by a GPU's kernels.

/// A change with all its parameters, after which nothing is random.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// None.
    Nothing,
    /// Left to right.
    Mirror,
    /// A part becomes the whole.
    Stretch(Rectangle),
    /// A turn counter-clockwise, as if the picture went on in grey.
    Turn {
        /// The angle.
        degrees: f64,
        /// The grey.
        fill: f32,
    },
    /// Other colours.
    Recolour(Recolour),
    /// A covered part.
    Cover(Rectangle, Cover),
}

/// How colours change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recolour {
    /// What comes first: 0 brightness, 1 contrast, 2 saturation, 3 hue.
    pub(crate) order: [u8; 4],
    /// Which of them there are.
    pub(crate) some: [bool; 4],
    /// Factors of the first three.
    pub(crate) factors: [f32; 3],
    /// The turn of the hue, as a part of the circle.
    pub(crate) shift: f32,
}

/// What covers a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cover {
    /// One grey, from 0 to 1.
    Grey(f32),
    /// These colours, row after row, pixel after pixel.
    Noise(Vec<u8>),
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rectangle {
    /// Rows above it.
    pub(crate) top: usize,
    /// Pixels to its left.
    pub(crate) left: usize,
    /// Its rows.
    pub(crate) height: usize,
    /// Its pixels in a row.
    pub(crate) width: usize,
}
