//! Which vector instructions this processor has.

/// A set of vector instructions that our kernels are compiled for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Instructions {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with byte, word and doubleword operations.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with products of pairs of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Instructions {
    /// Returns every set that this processor has, the best last.
    pub(super) fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 && is_x86_feature_detected!("avx512bf16") {
                return &[Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];
            }
            if avx2 && avx512 {
                return &[Self::Portable, Self::Avx2, Self::Avx512];
            }
            if avx2 {
                return &[Self::Portable, Self::Avx2];
            }
        }
        &[Self::Portable]
    }

    /// Returns the best set of this processor.
    pub(super) fn best() -> Self {
        *Self::available().last().expect("the portable set is always there")
    }
}

/// Compiles a function of plain loops for every set of instructions and picks one at run time.
///
/// Additions and multiplications stay apart and in order in all of them, so the bytes do not
/// depend on the set.
macro_rules! vectorized {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<$($number:ident: $bound:path),+>)? (
        $($argument:ident: $type:ty),* $(,)?
    ) $body:block) => {
        $(#[$meta])*
        #[cfg_attr(target_arch = "x86_64", expect(
            unsafe_code,
            reason = "a function compiled for more instructions is called after they were detected"
        ))]
        $visibility fn $name $(<$($number: $bound),+>)? ($($argument: $type),*) {
            #[inline(always)]
            fn plain $(<$($number: $bound),+>)? ($($argument: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::ops::instructions::Instructions;
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512 $(<$($number: $bound),+>)? ($($argument: $type),*) { plain($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($number: $bound),+>)? ($($argument: $type),*) { plain($($argument),*) }
                match Instructions::best() {
                    // SAFETY: `best` names only sets that this processor has.
                    Instructions::Avx512 | Instructions::Avx512Bf16 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    Instructions::Avx2 => return unsafe { avx2($($argument),*) },
                    Instructions::Portable => {}
                }
            }
            plain($($argument),*)
        }
    };
}

pub(super) use vectorized;
