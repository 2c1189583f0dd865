//! The CPU backend.

use burn_flex::{Flex as Inner, FlexDevice};

const DEVICE: FlexDevice = FlexDevice;

#[path = "attention.rs"]
mod attention;
#[path = "norm.rs"]
mod norm;
#[path = "optimizer.rs"]
mod optimizer;
#[path = "suite.rs"]
mod suite;
