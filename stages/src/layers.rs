//! Layers that networks are made of: operators with their weights.

use anyhow::Result;

use crate::ops::{self, Moves, Rectifier, Tape, Value};
use crate::weights::{Buffer, Initialization, Parameter, Weights};

/// A convolution and how it moves.
pub(crate) struct Convolution {
    weight: Parameter,
    bias: Option<Parameter>,
    moves: Moves,
}

/// The lengths of a convolution by a square kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Channels of the result, and of the image.
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// Pixels of a side of the kernel.
    pub(crate) kernel: usize,
    /// Pixels from one place of the kernel to the next.
    pub(crate) stride: usize,
    /// Zeros around the image.
    pub(crate) padding: usize,
    /// Groups of channels that are convolved on their own.
    pub(crate) groups: usize,
}

impl Shape {
    /// Describes a convolution that keeps the size at stride 1.
    pub(crate) fn same(outputs: usize, inputs: usize, kernel: usize, stride: usize) -> Self {
        Self { outputs, inputs, kernel, stride, padding: kernel / 2, groups: 1 }
    }

    /// Describes a convolution of each channel on its own that keeps the size at stride 1.
    pub(crate) fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { groups: channels, ..Self::same(channels, channels, kernel, stride) }
    }

    /// Describes a convolution of patches that lie side by side.
    pub(crate) fn patches(outputs: usize, inputs: usize, side: usize) -> Self {
        Self { padding: 0, ..Self::same(outputs, inputs, side, side) }
    }

    fn weight(self) -> [usize; 4] {
        [self.outputs, self.inputs / self.groups, self.kernel, self.kernel]
    }
}

impl Convolution {
    /// Makes a convolution without bias, initialized as in torchvision's ResNet.
    pub(crate) fn new(weights: &Weights, shape: Shape) -> Result<Self> {
        Self::with(weights, shape, Initialization::kaiming_normal(shape.weight()))
    }

    /// Makes a convolution without bias.
    pub(crate) fn with(weights: &Weights, shape: Shape, first: Initialization) -> Result<Self> {
        let weight = weights.parameter("weight", &shape.weight(), first, true)?;
        let moves = Moves::new(shape.stride, shape.padding).grouped(shape.groups);
        Ok(Self { weight, bias: None, moves })
    }

    /// Makes a convolution with a bias, at first 0.
    pub(crate) fn biased(weights: &Weights, shape: Shape, first: Initialization) -> Result<Self> {
        let zero = Initialization::Constant(0.0);
        let bias = weights.parameter("bias", shape.outputs, zero, false)?;
        Ok(Self { bias: Some(bias), ..Self::with(weights, shape, first)? })
    }

    /// Convolves images [N, H, W, C].
    pub(crate) fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        ops::convolution(tape, x, &self.weight, self.bias.as_ref(), self.moves)
    }
}

/// A batch norm that counts its batches as PyTorch's does.
pub(crate) struct Norm {
    norm: ops::BatchNorm,
    tracked: Buffer,
}

impl Norm {
    /// Makes a batch norm whose scale is trained.
    pub(crate) fn new(weights: &Weights, channels: usize) -> Result<Self> {
        let one = Initialization::Constant(1.0);
        let weight = weights.parameter("weight", channels, one, false)?;
        Self::with(weights, channels, weight, true)
    }

    /// Makes a batch norm whose scale stays 1, but is among the weights.
    pub(crate) fn unscaled(weights: &Weights, channels: usize) -> Result<Self> {
        let Buffer { name, variable } = weights.buffer("weight", channels, 1.0)?;
        Self::with(weights, channels, Parameter::new(name, variable, false), false)
    }

    fn with(weights: &Weights, channels: usize, weight: Parameter, scales: bool) -> Result<Self> {
        let norm = ops::BatchNorm {
            weight,
            scales,
            bias: weights.parameter("bias", channels, Initialization::Constant(0.0), false)?,
            running_mean: weights.buffer("running_mean", channels, 0.0)?,
            running_var: weights.buffer("running_var", channels, 1.0)?,
            momentum: 0.1,
            eps: 1e-5,
            feeds_norm: false,
            spares: false,
        };
        Ok(Self { norm, tracked: weights.counter("num_batches_tracked")? })
    }

    /// Says that a norm takes what it gives: on a GPU each of the two then reads an array once less.
    pub(crate) fn before_norm(mut self) -> Self {
        self.norm.feeds_norm = true;
        self
    }

    /// Lets training compute again on the way back what it gives without a residual: less memory, more time, the same
    /// bytes.
    pub(crate) fn made_again(mut self) -> Self {
        self.norm.spares = true;
        self
    }

    /// Normalizes.
    pub(crate) fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        self.count(tape)?;
        ops::batch_norm(tape, x, &self.norm, None, Rectifier::None)
    }

    /// Convolves, normalizes, adds a residual where there is one, and rectifies; in inference at once.
    pub(crate) fn after(
        &self,
        convolution: &Convolution,
        tape: &mut Tape,
        x: &Value,
        residual: Option<&Value>,
        rectifier: Rectifier,
    ) -> Result<Value> {
        self.count(tape)?;
        let Convolution { weight, moves, .. } = convolution;
        ops::convolution_norm(tape, x, weight, *moves, &self.norm, residual, rectifier)
    }

    /// Convolves, normalizes and rectifies with learnt slopes.
    pub(crate) fn bent_after(
        &self,
        convolution: &Convolution,
        tape: &mut Tape,
        x: &Value,
        slope: &Parameter,
    ) -> Result<Value> {
        if !tape.is_training() {
            let y = self.after(convolution, tape, x, None, Rectifier::None)?;
            return ops::prelu(tape, &y, slope);
        }
        self.count(tape)?;
        let y = convolution.forward(tape, x)?;
        ops::batch_norm_prelu(tape, &y, &self.norm, slope)
    }

    fn count(&self, tape: &Tape) -> Result<()> {
        if tape.is_training() { self.tracked.increment() } else { Ok(()) }
    }
}

/// A linear layer without bias and a batch norm, by which an embedding gets its length.
pub(crate) struct Embedding {
    weight: Parameter,
    norm: Norm,
}

impl Embedding {
    /// Makes `0.weight` and `1.*`, as `torch.nn.Sequential` would name them.
    pub(crate) fn new(weights: &Weights, inputs: usize, length: usize) -> Result<Self> {
        let first = Initialization::linear(inputs);
        let weight = weights.pp(0).parameter("weight", (length, inputs), first, true)?;
        Ok(Self { weight, norm: Norm::new(&weights.pp(1), length)? })
    }

    /// Maps rows [N, C].
    pub(crate) fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        let x = ops::linear(tape, x, &self.weight, None)?;
        self.norm.forward(tape, &x)
    }
}
