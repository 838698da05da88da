# The plan's `work.enqueue`.
while (my $line = <STDIN>) {
    my ($id, $class, $seconds) = $line =~ /"job":"([^"]+)","class":"([^"]+)","seconds":([0-9.e-]+)/;
    my $is = ask('put', $id, $class, $seconds) eq 'ok' ? '"enqueued":true' : '"error":"no answer"';
    print "{\"job\":\"$id\",$is}\n";
}
