# The remote end of a persistent shell (groundwork/connector/shell.py): runs framed requests, one after the other.
#
# Perl, because Debian's perl-base is essential and its pipes are binary-safe; sh could not keep a command's late
# output apart from the next one's. Writes nothing to disk.
#
# A frame is a length (4 bytes, big-endian) and that many bytes. A request's fields are separated by NUL:
#     number, "run", shell, command        runs: shell -c command
#     number, "ahead", shell, command      the same for a command that only reads: limited in time, answers gathered
#     number, "write", path, contents      a regular file's new contents, as cp would; contents may have NULs
#     number, "probe", kind, shell, (number, item, command) ...    many equal questions at once, see %probe
# An answer is one letter, the number (4 bytes), and
#     O, E  a piece of standard output, standard error
#     X     the exit status: "exit 3", "signal 9"
#     F     not run: why (the caller runs it another way)
#     S     not run: what a session is made from has changed since this one began; the last frame
use strict;
use warnings;
use POSIX ();
use Fcntl ();

our ($NONCE, $LIMIT);
open(my $IN, '<&', \*STDIN) or die "stdin: $!";
open(my $OUT, '>&', \*STDOUT) or die "stdout: $!";
open(STDIN, '<', '/dev/null') or die "/dev/null: $!";
open(STDOUT, '>', '/dev/null') or die "/dev/null: $!";
binmode $IN;
binmode $OUT;
my $HOME = POSIX::getcwd();
my ($input, $output) = ('', '');
my $GATHER = 16384;

sub flush_output {
    while (length $output) {
        my $written = syswrite($OUT, $output);
        defined $written or $!{EINTR} or exit 1;
        substr($output, 0, $written, '') if $written;
    }
}

sub answer {
    my ($letter, $number, $data) = @_;
    $output .= pack('N', 5 + length $data) . $letter . pack('N', $number) . $data;
    flush_output() if length $output > $GATHER;
}

sub readable {
    my ($handle, $seconds) = @_;
    my $bits = '';
    vec($bits, fileno($handle), 1) = 1;
    return select($bits, undef, undef, $seconds) > 0;
}

sub fill {
    my $read = sysread($IN, $input, 65536, length $input);
    defined $read or $!{EINTR} or exit 1;
    exit 0 if defined $read && !$read;
}

sub waiting { return length $input >= 4 || readable($IN, 0) }

sub next_frame {
    fill() while length $input < 4;
    my $length = unpack('N', $input);
    fill() while length $input < 4 + $length;
    my $frame = substr($input, 4, $length);
    substr($input, 0, 4 + $length, '');
    return $frame;
}

# What a new session would be made from: accounts, groups, limits, environment, sudo's rules, start-up files.
my @HOMES = grep { defined } map { (getpwnam $_)[7] } grep { defined } scalar getpwuid($<), $ENV{SUDO_USER};

sub signature {
    my @paths = map { "/etc/$_" } qw(passwd group environment login.defs nsswitch.conf profile bash.bashrc
        default/locale locale.conf sudo.conf sudoers security/limits.conf security/pam_env.conf);
    for my $folder (qw(/etc/sudoers.d /etc/security/limits.d /etc/pam.d /etc/profile.d)) {
        push @paths, $folder;
        opendir(my $handle, $folder) or next;
        push @paths, map { "$folder/$_" } sort grep { !/^\.\.?$/ } readdir $handle;
    }
    for my $home (@HOMES) {
        push @paths, map { "$home/$_" } qw(.bashrc .profile .bash_profile .bash_login .zshenv .pam_environment
            .ssh/environment .ssh/rc);
    }
    return join "\n", map { join ' ', (stat $_)[0, 1, 2, 4, 5, 7, 9, 10] } @paths;
}

my %found;

sub find_program {
    my $name = shift;
    return -x $name if $name =~ m{/};
    $found{$name} //= grep { -x "$_/$name" && !-d _ } split /:/, $ENV{PATH} // '/usr/bin:/bin';
    return $found{$name};
}

# Starts a program with a session, an empty standard input and pipes of its own, as sshd does for each command.
sub start {
    my @words = @_;
    pipe(my $out_read, my $out_write) && pipe(my $err_read, my $err_write) && pipe(my $in_read, my $in_write)
        or return;
    my $child = fork;
    return unless defined $child;
    if (!$child) {
        POSIX::setsid();
        POSIX::dup2(fileno $in_read, 0);
        POSIX::dup2(fileno $out_write, 1);
        POSIX::dup2(fileno $err_write, 2);
        chdir $HOME;
        { no warnings; exec { $words[0] } @words; }
        POSIX::_exit(127);
    }
    return ($child, $out_read, $err_read);
}

# Passes output on until nobody holds the pipes any more; returns the exit status, or nothing past the limit.
sub follow {
    my ($child, $out, $err, $limit, $take, $hasty) = @_;
    my %open = (fileno($out) => [$out, 'O'], fileno($err) => [$err, 'E']);
    my $end = $limit ? time + $limit : 0;
    my $bits = '';
    vec($bits, $_, 1) = 1 for keys %open;
    while (%open) {
        my $ready = $bits;
        # What came is sent off when nothing more follows at once.
        my $left = $end ? $end - time : undef;
        $left = 0 if defined $left && $left < 0;
        my $patience = $hasty && length $output ? 0.004 : $left;
        my $count = select($ready, undef, undef, $patience);
        next if $count < 0;
        if (!$count) {
            if ($hasty && length $output) { flush_output(); next }
            kill 'KILL', -$child;
            waitpid $child, 0;
            return;
        }
        for my $number (grep { vec($ready, $_, 1) } keys %open) {
            my $read = sysread($open{$number}[0], my $piece, 65536);
            next unless defined $read;
            if ($read) { $take->($open{$number}[1], $piece) }
            else { delete $open{$number}; vec($bits, $number, 1) = 0 }
        }
    }
    waitpid $child, 0;
    return $? & 127 ? 'signal ' . ($? & 127) : 'exit ' . ($? >> 8);
}

sub run {
    my ($number, $limit, $shell, $command) = @_;
    return answer('F', $number, "no $shell") unless find_program($shell);
    my @started = start($shell, '-c', $command);
    return answer('F', $number, "cannot start: $!") unless @started;
    my $ended = follow(@started, $limit, sub { answer($_[0], $number, $_[1]) }, !$limit);
    return defined $ended ? answer('X', $number, $ended) : answer('F', $number, 'took too long');
}

# Where cp would fail or do something else, the caller has it do so.
sub place {
    my ($number, $path, $data) = @_;
    return answer('F', $number, 'no regular file') if -e $path ? !-f _ : -l $path;
    sysopen(my $file, $path, POSIX::O_WRONLY() | POSIX::O_CREAT() | POSIX::O_TRUNC(), 0666)
        or return answer('F', $number, "cannot open: $!");
    binmode $file;
    my $place = 0;
    while ($place < length $data) {
        my $written = syswrite($file, $data, length($data) - $place, $place);
        return answer('F', $number, "cannot write: $!") unless defined $written || $!{EINTR};
        $place += $written // 0;
    }
    return answer('F', $number, "cannot close: $!") unless close $file;
    return answer('X', $number, 'exit 0');
}

# A program's standard output; nothing unless it succeeded without a word on standard error.
sub capture {
    my ($text, $odd) = ('', 0);
    return unless find_program($_[0]);
    my @started = start(@_) or return;
    my $ended = follow(@started, $LIMIT, sub { $_[0] eq 'O' ? ($text .= $_[1]) : ($odd = 1) }, 0);
    return defined $ended && $ended eq 'exit 0' && !$odd ? $text : undef;
}

# One line of output per item, or nothing.
sub lines_of {
    my ($items, @words) = @_;
    return [] unless @$items;
    my $text = capture(@words, @$items) // return;
    my @lines = split /\n/, $text, -1;
    return unless @lines == @$items + 1 && pop(@lines) eq '';
    return \@lines;
}

sub contents {
    my $path = shift;
    open(my $file, '<:raw', $path) or return;
    return unless -f $file && -s _ < 8_000_000;
    my $text = do { local $/; <$file> };
    return $text // '';
}

sub filtered {
    my ($items, $wanted, @words) = @_;
    my @there = grep { $wanted->($_) } @$items;
    my $lines = lines_of(\@there, @words) // return;
    my %line;
    @line{@there} = @$lines;
    return { map { $_ => defined $line{$_} ? "$line{$_}\n" : '' } @$items };
}

# A file of printable ASCII, where programs and locales agree on what its lines are.
sub plain_text {
    my $text = contents(shift) // return;
    return $text =~ /[^\t\n\x20-\x7e]/ ? undef : $text;
}

# Lines of a table by their first field; nothing where one is there twice, is odd, or would be changed by echo.
sub table {
    my $path = shift;
    my $text = plain_text($path) // return;
    my %lines;
    for my $line (split /\n/, $text) {
        return unless $line =~ /^([A-Za-z_][A-Za-z0-9_-]*):/ && !exists $lines{$1} && $line !~ /\\/;
        $lines{$1} = $line;
    }
    return \%lines;
}

# pyinfra's list of accounts, in three processes instead of a dozen for each.
sub users {
    my $accounts = table('/etc/passwd') // return;
    my $passwords = -r '/etc/shadow' ? (table('/etc/shadow') // return) : {};
    return if -e '/etc/master.passwd' || find_program('lastlogin');
    my @names = map { /^([^:]*)/ } split /\n/, plain_text('/etc/passwd') // return;
    my $group = lines_of(\@names, 'id', '-gn') // return;
    my $groups = lines_of(\@names, 'id', '-Gn') // return;
    my %last;
    if (find_program('lastlog')) {
        my ($header, @lines) = split /\n/, capture('lastlog') // return;
        for (@lines) {
            /^(\S+)/ && !exists $last{$1} or return;
            $last{$1} = tr/ //sr;
        }
        return if grep { !exists $last{$_} || index($header, $_) == 0 } @names;
    }
    my $text = '';
    for my $place (0 .. $#names) {
        my $name = $names[$place];
        my $password = (split /:/, $passwords->{$name} // '')[1] // '';
        $text .= join('|', $accounts->{$name}, $group->[$place], $groups->[$place], $last{$name} // '', $password) . "\n";
    }
    return $text;
}

# Each takes what follows its name in the kind, and the items; gives standard output by item, or nothing.
my %probe = (
    stat => sub { my ($format, $items) = @_; filtered($items, sub { -e $_[0] || -l $_[0] }, 'stat', '-c', $format) },
    sum => sub { my ($program, $items) = @_; filtered($items, sub { -e $_[0] }, $program) },
    content => sub {
        my (undef, $items) = @_;
        # Where nothing is, the command itself has to answer.
        return { map { $_ => scalar contents($_) } @$items };
    },
    placed => sub {
        my ($format, $items) = @_;
        my @files = grep { !-l $_ && -f $_ } @$items;
        my $states = lines_of(\@files, 'stat', '-c', $format, '--') // return;
        my $sums = lines_of(\@files, 'sha256sum', '--') // return;
        my %file;
        for my $place (0 .. $#files) {
            return unless $sums->[$place] =~ /^([0-9a-f]{64})  /;
            $file{$files[$place]} = "$states->[$place]\n$1  -\n";
        }
        return { map { $_ => $file{$_} // (-l $_ ? "link\n" : -e $_ ? "other\n" : '') } @$items };
    },
    find => sub {
        my ($path, $items) = @_;
        my $text = plain_text($path) // return;
        my @lines = split /\n/, $text;
        my %found;
        for my $item (@$items) {
            # The caller has let through what means the same here as in grep.
            my $quoted = $item =~ s{([^A-Za-z0-9.*^\$])}{\\$1}gr;
            my @matching = grep { /$quoted/ } @lines;
            $found{$item} = @matching ? join('', map { "$_\n" } @matching) : "__pyinfra_exists_$path\n";
        }
        return \%found;
    },
    users => sub {
        my (undef, $items) = @_;
        my $text = users() // return;
        return { map { $_ => $text } @$items };
    },
    units => sub {
        my ($property, $items) = @_;
        my $text = capture('systemctl', 'show', '--all', '--property', 'Id', '--property', $property, @$items) // return;
        my @parts = split /\n\n/, $text, -1;
        return unless @parts == @$items;
        s/\n*\z/\n/ for @parts;
        my %part;
        @part{@$items} = @parts;
        return \%part;
    },
);

sub probe {
    my ($kind, $shell, @rest) = @_;
    my ($name, $detail) = split / /, $kind, 2;
    my (@numbers, @items, @commands);
    while (@rest) {
        push @numbers, shift @rest;
        push @items, shift @rest;
        push @commands, shift @rest;
    }
    my $given = $probe{$name} ? $probe{$name}->($detail, \@items) : undef;
    for my $place (0 .. $#items) {
        my $text = $given ? $given->{$items[$place]} : undef;
        if (defined $text) {
            answer('O', $numbers[$place], $text) if length $text;
            answer('X', $numbers[$place], 'exit 0');
        }
        else { run($numbers[$place], $LIMIT, $shell, $commands[$place]) }
    }
}

my $before = signature();
my $checked = 0;
$output = $NONCE;
while (1) {
    unless (waiting()) { flush_output(); $checked = 0 }
    my ($number, $kind, $fields) = split /\0/, next_frame(), 3;
    my @rest = split /\0/, $fields, $kind eq 'write' ? 2 : -1;
    # Once for a series of questions; before everything that may change something.
    $checked = 0 if $kind eq 'run' || $kind eq 'write';
    if (!$checked++ && signature() ne $before) { answer('S', $number, ''); flush_output(); exit 0 }
    if ($kind eq 'run') { run($number, 0, @rest); flush_output() unless waiting() }
    elsif ($kind eq 'write') { place($number, @rest); flush_output() unless waiting() }
    elsif ($kind eq 'ahead') { run($number, $LIMIT, @rest) }
    elsif ($kind eq 'probe') { probe(@rest) }
    else { answer('F', $number, "unknown request $kind") }
}
