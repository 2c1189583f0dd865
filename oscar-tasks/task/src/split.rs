//! Where the files of a split are.

use std::path::{Path, PathBuf};

use oscar_core::input::SourceError;

use crate::Section;

/// Where a split is located.
pub trait Split: Section + PartialEq {
    /// The split whose annotations are in `data` and whose images are in `regions`; `None` if it has
    /// texts alone.
    fn new(data: PathBuf, regions: Option<PathBuf>) -> Self;

    /// Adds a file of annotations to one of texts, for data that is published in two files; false if
    /// the task's data is one file.
    fn add_annotations(&mut self, _file: PathBuf) -> bool {
        false
    }

    /// Its files and directories that are set.
    fn paths(&mut self) -> Vec<&mut PathBuf>;
}

/// Declares a task's section of a split: a structure of paths, each of which may be left out of a recipe,
/// and its [`Split`]. The first path is that of the data; one is called `regions`. A second file of
/// annotations, which completes one of texts, is named after `with`.
///
/// ```
/// # use std::path::PathBuf;
/// use oscar_task::Split as _;
///
/// oscar_task::split! {
///     /// A split: questions, the answers of people, and the images.
///     pub struct Split {
///         /// Questions.
///         pub questions,
///         /// Their answers, if they are in a file of their own.
///         pub annotations,
///         /// Region store.
///         pub regions,
///     }
///     with annotations
/// }
///
/// let mut split = Split::new("questions.json".into(), Some("regions".into()));
/// assert!(split.add_annotations("answers.json".into()));
/// assert_eq!(split.paths().len(), 3);
/// ```
#[macro_export]
macro_rules! split {
    (
        $(#[$about:meta])*
        $visible:vis struct $name:ident {
            $(#[$about_data:meta])*
            pub $data:ident,
            $( $(#[$about_more:meta])* pub $more:ident, )*
        }
        $( with $annotations:ident )?
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq,
            ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema,
        )]
        #[serde(default, deny_unknown_fields)]
        $visible struct $name {
            $(#[$about_data])*
            #[serde(with = "::oscar_task::optional_path")]
            #[schemars(with = "Option<::std::path::PathBuf>")]
            pub $data: Option<::std::path::PathBuf>,
            $(
                $(#[$about_more])*
                #[serde(with = "::oscar_task::optional_path")]
                #[schemars(with = "Option<::std::path::PathBuf>")]
                pub $more: Option<::std::path::PathBuf>,
            )*
        }

        impl $crate::Split for $name {
            // A split may have nothing else.
            #[allow(clippy::needless_update)]
            fn new(data: ::std::path::PathBuf, regions: Option<::std::path::PathBuf>) -> Self {
                Self { $data: Some(data), regions, ..Self::default() }
            }

            $(
                fn add_annotations(&mut self, file: ::std::path::PathBuf) -> bool {
                    self.$annotations = Some(file);
                    true
                }
            )?

            fn paths(&mut self) -> Vec<&mut ::std::path::PathBuf> {
                [&mut self.$data, $( &mut self.$more, )*].into_iter().flatten().collect()
            }
        }
    };
}

/// The path of a file that a split cannot do without.
///
/// # Errors
///
/// If it is not set: the error names the key, and `what` the file is.
pub fn required<'a>(
    path: &'a Option<PathBuf>,
    key: &str,
    what: &str,
) -> Result<&'a Path, SourceError> {
    let path = path.as_deref();
    path.ok_or_else(|| format!("`{key}` is not set: it names {what}").into())
}

/// Paths that may be unset, which files write as an empty text: `#[serde(with = "optional_path")]`.
pub mod optional_path {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a path; one that is not set as an empty text.
    ///
    /// # Errors
    ///
    /// If the path is not Unicode.
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => path.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    /// Reads a path; an empty text as none.
    ///
    /// # Errors
    ///
    /// If it is not a text.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }
}
