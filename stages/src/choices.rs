//! The macro behind every family of interchangeable parts.

/// Makes the enum of a family: one variant per entry, named in kebab-case in pipeline files, that
/// derefs to the family's trait.
///
/// ```text
/// choices! {
///     /// Every loss, by its name in pipeline files.
///     pub(crate) enum AnyLoss: LossConfig { Arcface(arcface::Arcface), }
/// }
/// ```
macro_rules! choices {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident: $family:path {
        $($(#[$entry_meta:meta])* $entry:ident($config:ty)),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        $visibility enum $name { $($(#[$entry_meta])* $entry($config),)+ }

        impl std::ops::Deref for $name {
            type Target = dyn $family;
            fn deref(&self) -> &(dyn $family + 'static) {
                match self { $(Self::$entry(config) => config,)+ }
            }
        }
    };
}

pub(crate) use choices;
