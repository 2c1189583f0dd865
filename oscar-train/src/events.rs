//! TensorBoard's event file, so that `tensorboard --logdir runs` draws the curves of every run.
//!
//! The crates that write it bring a compiler of protocol buffers or an image library along; scalars
//! need neither. A record is an event between its length and two checksums:
//!
//! ```text
//! length u64 | masked CRC-32C of the length u32 | event | masked CRC-32C of the event u32
//! ```
//!
//! and an event is a protocol buffer (`tensorflow/core/util/event.proto`) of which three forms are
//! written: the version, the start of a session, and a summary of scalars.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};
use serde_json::{Map, Value};

/// CRC-32C.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What a reader looks for in the first event.
const VERSION: &str = "brain.Event:2";

/// `SessionLog.START`: readers discard values of earlier files from its step on.
const START: u64 = 1;

/// The event file of a run since it was started or resumed: one for each time.
pub struct EventFile {
    directory: PathBuf,
    /// Optimiser steps before the first that is written.
    done: usize,
    /// Made with the first event, so that a run that fails before its first step leaves none.
    file: Option<File>,
}

impl EventFile {
    /// The file of a run in `directory` that continues after `step` steps. Readers discard what earlier
    /// files hold of later steps, which the run will repeat.
    pub fn after(directory: &Path, step: usize) -> Self {
        Self {
            directory: directory.into(),
            done: step,
            file: None,
        }
    }

    /// Appends scalars: `train/Loss` for the metric `Loss` of the split `train`.
    ///
    /// # Errors
    ///
    /// If the file cannot be made or written; it must not be written to again then.
    pub fn write(
        &mut self,
        step: usize,
        split: &str,
        metrics: &Map<String, Value>,
    ) -> io::Result<()> {
        let mut summary = Vec::new();
        for (name, value) in metrics {
            if let Some(value) = value.as_f64() {
                let mut scalar = Vec::new();
                put_bytes(&mut scalar, 1, format!("{split}/{name}").as_bytes());
                put_float(&mut scalar, 2, value as f32);
                put_bytes(&mut summary, 1, &scalar);
            }
        }
        let time = now();
        let mut event = event(time, step);
        put_bytes(&mut event, 5, &summary);
        self.file(time)?.write_all(&record(&event))
    }

    fn file(&mut self, time: f64) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            file => {
                let mut version = event(time, 0);
                put_bytes(&mut version, 3, VERSION.as_bytes());
                let mut session = Vec::new();
                put_number(&mut session, 1, START);
                let mut start = event(time, self.done + 1);
                put_bytes(&mut start, 7, &session);
                let mut new = create(&self.directory, time as u64)?;
                new.write_all(&[record(&version), record(&start)].concat())?;
                Ok(file.insert(new))
            }
        }
    }
}

/// A new file whose name sorts after those that are there, as readers go through them.
fn create(directory: &Path, seconds: u64) -> io::Result<File> {
    let mut number = 0_usize;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.{number}");
        let path = directory.join(name);
        match OpenOptions::new().append(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            opened => return opened,
        }
    }
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [
        &length,
        &masked(&length).to_le_bytes(),
        event,
        &masked(event).to_le_bytes(),
    ];
    parts.concat()
}

/// Masked, because a checksum of data that holds checksums is weak.
fn masked(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// An event but for what happened.
fn event(time: f64, step: usize) -> Vec<u8> {
    let mut event = Vec::new();
    put_key(&mut event, 1, 1);
    event.extend(time.to_le_bytes());
    put_number(&mut event, 2, step as u64);
    event
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

/// Protocol buffers: the number of a field and the form of its value.
fn put_key(out: &mut Vec<u8>, field: u64, form: u64) {
    put_varint(out, field << 3 | form);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_key(out, field, 0);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_key(out, field, 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put_float(out: &mut Vec<u8>, field: u64, value: f32) {
    put_key(out, field, 5);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis_masked() {
        // Test vectors of RFC 3720, B.4.
        assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(CRC.checksum(&[0; 32]), 0x8a91_36aa);
        // How files begin whose first event has 24 bytes, as TensorFlow's do.
        assert_eq!(
            record(&[0; 24])[..12],
            *b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22"
        );
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let mut events = EventFile::after(Path::new("no/such/directory"), 0);
        let metrics = Map::from_iter([("Loss".to_string(), Value::from(1.0))]);
        let error = events
            .write(1, "train", &metrics)
            .expect_err("there is no directory");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn numbers_are_written_seven_bits_at_a_time() {
        let mut out = Vec::new();
        put_number(&mut out, 2, 300);
        assert_eq!(out, [0x10, 0xac, 0x02]);
    }
}
