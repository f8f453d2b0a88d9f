//! Shared-memory values, arrays, locks and processes that survive the death of any process.

pub use bytemuck;

pub use crate::error::{Error, Poison, Result};

mod error;
