//! A child process changes a number and an array that its parent sees.
//!
//! ```text
//! cargo run --example value_array            # the child is a fresh start of this program
//! cargo run --example value_array -- fork    # the child is a copy of this process
//! ```
//!
//! prints, both times,
//!
//! ```text
//! 3.1415927
//! [0, -1, -2, -3, -4, -5, -6, -7, -8, -9]
//! ```

use shmkit::{Array, Process, Result, StartMethod, Value, process};

#[expect(clippy::approx_constant, reason = "a number like any other here")]
fn f(n: Value<f64>, a: Array<i32>) -> Result<()> {
    *n.lock()? = 3.1415927;
    for x in a.lock()?.iter_mut() {
        *x = -*x;
    }
    Ok(())
}

fn main() -> Result<()> {
    shmkit::init(); // becomes the child here, in a child
    if std::env::args().nth(1).as_deref() == Some("fork") {
        process::set_start_method(StartMethod::Fork)?;
    }

    let num = Value::new(0.0)?;
    let arr = Array::from_iter(0..10)?;
    Process::spawn(f, (num.clone(), arr.clone()))?.join()?;
    println!("{}", num.get()?);
    println!("{:?}", arr.to_vec()?);
    Ok(())
}
