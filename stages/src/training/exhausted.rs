//! Says what would take less of a GPU's memory where there was not enough.

/// How the libraries of a GPU say that there is no memory left.
const SIGNS: [&str; 3] =
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED"];

/// Adds advice to an error, if it is of memory that a GPU has not: `ways` are parameters that would help.
pub(crate) fn advised(error: anyhow::Error, batch: usize, ways: &[&str]) -> anyhow::Error {
    let told = format!("{error:#}");
    if !SIGNS.iter().any(|sign| told.contains(sign)) {
        return error;
    }
    let [others @ .., last] = ways else { return error };
    let ways = match others {
        [] => (*last).to_owned(),
        _ => format!("{} or {last}", others.join(", ")),
    };
    error.context(format!("the GPU has too little memory for {batch} images at once; use {ways}"))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::advised;

    #[test]
    fn memory_alone_is_advised_on() {
        let full = || anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        let told = |ways| advised(full().context("kernel gelu"), 256, ways).to_string();
        let start = "the GPU has too little memory for 256 images at once; use ";
        assert_eq!(told(&["a smaller `batch`"]), format!("{start}a smaller `batch`"));
        assert_eq!(told(&["one", "two", "three"]), format!("{start}one, two or three"));
        let other = advised(anyhow!("no such kernel"), 256, &["a smaller `batch`"]);
        assert_eq!(other.to_string(), "no such kernel");
    }
}
