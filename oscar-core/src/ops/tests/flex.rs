//! The CPU backend.

use burn_flex::{Flex as Inner, FlexDevice};

const DEVICE: FlexDevice = FlexDevice;

#[path = "suite.rs"]
mod suite;
