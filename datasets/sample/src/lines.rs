//! A file of JSON lines being written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use oscar_datasets::{DatasetError, Result};
use serde::Serialize;

pub(crate) struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(DatasetError::io("create", &path))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }

    pub(crate) fn push(&mut self, row: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.file, row)
            .map_err(Into::into)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(DatasetError::io("write", &self.path))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(DatasetError::io("write", &self.path))
    }
}
