# From what `cargo test` prints: for each test that failed, its name and the last `most` lines that it said.
function told(    i) {
    if (name == "") return
    print "FAILED " name
    for (i = (count > most ? count - most : 0) + 1; i <= count; i++) print "  " substr(said[i], 1, 300)
    name = ""
}
/^---- .* stdout ----$/ { told(); name = $2; count = 0; next }
/^failures:$/ || /^test result:/ { told() }
name != "" && $0 != "" && !/RUST_BACKTRACE/ { said[++count] = $0 }
END { told() }
