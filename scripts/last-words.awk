# Of cargo's output: the last lines that each failed test wrote, under its name. `most` is how many.
/^---- .* stdout ----$/ { tell(); name = $2; n = 0; next }
/^failures:$/ || /^test result:/ { tell(); next }
# Neither empty lines nor frames of a backtrace say anything.
name != "" && NF && !/^ +[0-9]+: / && !/^ +at / { said[n++ % most] = $0 }
END { tell() }

function tell(    i) {
    if (name == "") return
    printf "\n  failed     %s\n", name
    for (i = n > most ? n - most : 0; i < n; i++) print "    " substr(said[i % most], 1, 300)
    name = ""
}
