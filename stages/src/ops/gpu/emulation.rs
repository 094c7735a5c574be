//! Our kernels on the CPU, for tests: compiled by the C compiler and run one thread after the other.
//!
//! Every launch is held to the parameters that the kernel has: their number, kinds and types.
#![expect(unsafe_code, reason = "a kernel is told where memory lies")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor};

use super::BLOCK;
use super::launch::{Argument, TYPES};

thread_local! {
    static EMULATING: Cell<bool> = const { Cell::new(false) };
    /// The kernels that this thread has run.
    static RUN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Runs `work` with tensors of the CPU taken as a GPU's, where they are no arrays of our kernels there.
pub(crate) fn emulating<R>(work: impl FnOnce() -> R) -> R {
    with(true, work)
}

/// Runs `work` as if nothing was emulated.
pub(in crate::ops) fn apart<R>(work: impl FnOnce() -> R) -> R {
    with(false, work)
}

/// Returns whether tensors of the CPU are taken as a GPU's.
pub(in crate::ops) fn emulated() -> bool {
    EMULATING.get()
}

fn with<R>(emulated: bool, work: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            EMULATING.set(self.0);
        }
    }
    let _before = Before(EMULATING.replace(emulated));
    work()
}

/// Returns whether our kernels compute with a tensor.
pub(crate) fn takes(tensor: &Tensor) -> bool {
    emulated() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// Returns nothing: no GPU's memory is emulated.
pub(crate) fn free_bytes(_: &Device) -> Result<Option<u64>> {
    Ok(None)
}

/// Runs a kernel with as many threads as whole blocks have.
pub(super) fn start(
    _: &Device,
    kernel: &str,
    threads: usize,
    arguments: &[Argument],
) -> Result<()> {
    let kernels = KERNELS.get_or_init(|| Kernels::compile().expect("a C compiler has the kernels"));
    let parameters = kernels.parameters.get(kernel).context("there is no such kernel")?;
    ensure!(
        parameters.len() == arguments.len(),
        "it has {} parameters and was given {}",
        parameters.len(),
        arguments.len()
    );
    RUN.with_borrow_mut(|run| run.insert(kernel.to_owned()));
    let mut words: Vec<u64> = Vec::with_capacity(arguments.len());
    for (parameter, argument) in parameters.iter().zip(arguments) {
        let (kind, word) = match *argument {
            Argument::Count(count) => ("count", u64::from(u32::try_from(count)?)),
            Argument::Flag(flag) => ("int", u64::from(flag)),
            Argument::Kind(kind) => ("int", kind as u64),
            Argument::Float(number) => ("float", u64::from(number.to_bits())),
            Argument::Address(address, dtype) => (pointer(dtype)?, address),
        };
        let same = parameter.trim_start_matches("const ").replace("f32", "float");
        ensure!(same == kind, "a `{kind}` was given for a `{parameter}`");
        words.push(word);
    }
    let places: Vec<*const u64> = words.iter().map(|word| &raw const *word).collect();
    let threads = super::blocks(threads)? * BLOCK as u32;
    // SAFETY: the function was made for these parameters (below), whose number and types were just compared, and
    // the tensors behind the addresses live.
    unsafe {
        let run = kernels.library.get::<Run>(format!("run_{kernel}"))?;
        run(threads, places.as_ptr().cast());
    }
    Ok(())
}

/// Returns a tensor of what is no number, so that numbers that no kernel wrote are noticed.
pub(super) fn room(device: &Device, dtype: DType, shape: Shape) -> Result<Tensor> {
    match dtype {
        DType::F32 | DType::BF16 => Ok(Tensor::full(f32::NAN, shape, device)?.to_dtype(dtype)?),
        DType::U8 => Ok(Tensor::full(0xaa_u8, shape, device)?),
        other => bail!("kernels write {TYPES}, not {other:?}"),
    }
}

/// Returns where the numbers of a contiguous tensor lie.
pub(super) fn place(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a tensor on the CPU was expected") };
    let (start, _) = layout.contiguous_offsets().context("a contiguous tensor was expected")?;
    let first = match storage {
        CpuStorage::F32(numbers) => numbers[start..].as_ptr().cast::<c_void>(),
        CpuStorage::BF16(numbers) => numbers[start..].as_ptr().cast(),
        CpuStorage::U8(numbers) => numbers[start..].as_ptr().cast(),
        CpuStorage::U32(numbers) => numbers[start..].as_ptr().cast(),
        CpuStorage::I64(numbers) => numbers[start..].as_ptr().cast(),
        _ => bail!("kernels are given {TYPES}, not {:?}", tensor.dtype()),
    };
    Ok(first as u64)
}

/// Returns how C names a pointer to numbers of a type.
fn pointer(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::F32 => "float *",
        DType::BF16 => "bf16 *",
        DType::U8 => "byte *",
        DType::U32 => "count *",
        DType::I64 => "address *",
        other => bail!("kernels are given {TYPES}, not {other:?}"),
    })
}

/// A kernel over a range of threads: how many, and where its arguments lie.
type Run = unsafe extern "C" fn(u32, *const *const c_void);

/// The kernels as a library, and the types of their parameters.
struct Kernels {
    library: libloading::Library,
    parameters: HashMap<String, Vec<String>>,
    /// Where the library lies.
    _folder: tempfile::TempDir,
}

static KERNELS: OnceLock<Kernels> = OnceLock::new();

/// What C needs to know to read the kernels.
const PREFACE: &str = "#include <math.h>
static _Thread_local unsigned thread, block, member;
#define INLINE static inline
#define THREAD thread
#define BLOCK block
#define MEMBER member
#define MEMBERS for (member = 0; member < 256; member++)
#define MEET
#define SHARED
";

impl Kernels {
    fn compile() -> Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/gpu");
        let folder = tempfile::tempdir()?;
        let include = "#include \"kernels.cu\"\n";
        let marked =
            format!("{PREFACE}#define KERNEL MARKED\n#define TOGETHER MARKED_TOGETHER\n{include}");
        let text = compiler(&sources, &["-E", "-P"], &marked, None)?;
        let found = signatures(&text)?;
        ensure!(found.len() > 20, "only {} kernels were found", found.len());
        let mut whole =
            format!("{PREFACE}#define KERNEL static void\n#define TOGETHER static void\n{include}");
        for (kernel, Signature { types, together }) in &found {
            let read = |(at, kind): (usize, &String)| format!("*({kind} const *)a[{at}]");
            let arguments: Vec<String> = types.iter().enumerate().map(read).collect();
            // what a block does together is written for all of its threads
            let step = if *together { 256 } else { 1 };
            whole += &format!(
                "void run_{kernel}(unsigned threads, void *const *a) {{\n  for (thread = 0; thread < threads; \
                 thread += {step}) {{\n    block = thread / 256;\n    member = thread % 256;\n    {kernel}({});\n  \
                 }}\n}}\n",
                arguments.join(", ")
            );
        }
        let file = folder.path().join("kernels.so");
        let flags =
            ["-shared", "-fPIC", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-lm"];
        compiler(&sources, &flags, &whole, Some(&file))?;
        // SAFETY: loading it runs nothing of ours.
        let library = unsafe { libloading::Library::new(&file) }?;
        let parameters = found.into_iter().map(|(name, kernel)| (name, kernel.types)).collect();
        Ok(Self { library, parameters, _folder: folder })
    }
}

/// Runs the C compiler on a text and returns what it printed.
fn compiler(
    sources: &Path,
    flags: &[&str],
    text: &str,
    output: Option<&PathBuf>,
) -> Result<String> {
    let mut command = Command::new("cc");
    command.args(["-x", "c", "-std=c11"]).arg("-I").arg(sources).arg("-");
    command.args(flags);
    if let Some(output) = output {
        command.arg("-o").arg(output);
    }
    let piped = || Stdio::piped();
    let mut run = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn()?;
    let mut input = run.stdin.take().context("it has an input")?;
    let text = text.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, text.as_bytes()));
    let done = run.wait_with_output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    writer.join().ok().context("the compiler read its input")??;
    Ok(String::from_utf8(done.stdout)?)
}

/// What is read of a kernel: the types of its parameters, and whether its blocks are written as a whole.
struct Signature {
    types: Vec<String>,
    together: bool,
}

/// Reads the kernels out of a preprocessed text, by name.
fn signatures(text: &str) -> Result<HashMap<String, Signature>> {
    let mut found = HashMap::new();
    for kernel in text.split("MARKED").skip(1) {
        let (kernel, together) =
            kernel.strip_prefix("_TOGETHER").map_or((kernel, false), |kernel| (kernel, true));
        let (name, rest) = kernel.split_once('(').context("a kernel has parameters")?;
        let (parameters, _) = rest.split_once(')').context("parameters end")?;
        let types = parameters.split(',').map(|parameter| {
            let words: Vec<&str> = parameter.split_whitespace().collect();
            let whole = words.join(" ");
            let end = whole.rfind([' ', '*']).map_or(0, |at| at + 1);
            whole[..end].trim().to_owned()
        });
        let types = types.collect();
        found.insert(name.trim().to_owned(), Signature { types, together });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::super::launch::{Argument, address, filled, launch};
    use super::signatures;
    use crate::ops::parity::Parity;

    #[test]
    fn parameters_are_read() {
        let text = "MARKED a(count rows, const float *x, int some,\n float y) {} MARKED_TOGETHER b(bf16 *y) {}";
        let found = signatures(text).unwrap();
        assert_eq!(found["a"].types, ["count", "const float *", "int", "float"]);
        assert_eq!(found["b"].types, ["bf16 *"]);
        assert_eq!([found["a"].together, found["b"].together], [false, true]);
    }

    #[test]
    fn what_a_kernel_does_not_take_is_refused() {
        let (device, x) = (Device::Cpu, Tensor::ones(3, DType::F32, &Device::Cpu).unwrap());
        let y = filled(&device, DType::BF16, 3).unwrap();
        let run = |kernel: &str, arguments: &[Argument]| {
            format!("{:#}", launch(&device, kernel, 3, arguments).unwrap_err())
        };
        let [from, to] = [address(&x).unwrap(), address(&y).unwrap()];
        let three = Argument::Count(3);
        assert!(run("none", &[]).ends_with("there is no such kernel"));
        assert!(run("gelu_f32", &[three]).ends_with("it has 3 parameters and was given 1"));
        let types = run("gelu_f32", &[three, from, to]);
        assert!(types.ends_with("a `bf16 *` was given for a `f32 *`"), "{types}");
        assert!(run("gelu_f32", &[from, three, to]).contains("was given for a `count`"));
    }

    /// Everything that launches kernels, beside our kernels on the CPU.
    #[test]
    fn operators_hold_on_the_emulated_gpu() {
        for dtype in [DType::F32, DType::BF16] {
            let parity = Parity::new(Device::Cpu, dtype, 1).and(crate::device_checks::all());
            for (number, name) in parity.names().iter().enumerate() {
                // a matrix product of bf16 is the GPU's alone
                if dtype == DType::BF16 && parity.multiplies(number) {
                    continue;
                }
                let verdict = super::emulating(|| parity.check(number));
                let verdict = verdict.unwrap_or_else(|error| panic!("{name}: {error:#}"));
                assert!(verdict.holds(), "{dtype:?} {name}: {verdict:?}");
            }
        }
        let kernels = super::KERNELS.get().unwrap().parameters.keys().map(String::as_str);
        let run = super::RUN.take();
        let missed: Vec<&str> = kernels.filter(|name| !run.contains(*name)).collect();
        assert!(missed.is_empty(), "{missed:?}");
    }
}
