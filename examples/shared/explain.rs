//! What went wrong, in one line.

use std::{error::Error, iter};

/// The error, and what has caused it.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let causes = iter::successors(error.source(), |&e| e.source());
    for cause in causes.map(ToString::to_string) {
        // Some errors show their cause themselves.
        if !message.ends_with(&cause) {
            message += &format!(": {cause}");
        }
    }
    message
}
