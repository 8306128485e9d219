"""How editors, tools and mounts save a config.yml: what they leave half-way is not in force, what they mean is."""

import asyncio
import shlex

import pytest
from tests.attack.guarded import eventually, guarded
from tests.attack.table import Tried
from tests.flow.world import World

# Each gets the file as $F, the new content as $N and its size as $S, in a folder of its own.
SAVES = {
    "vim with backupcopy=no": "mv $F $F~; head -c 20 $N >$F; sleep 0.1; tail -c +21 $N >>$F; chmod 600 $F; rm $F~",
    "vim with backupcopy=yes": "cp $F $F~; : >$F; sleep 0.2; cat $N >$F; rm $F~",
    "nano": ": >$F; sleep 0.1; cat $N >$F",
    "emacs": "cp -p $N .new; mv $F $F~; mv .new $F",
    "sed -i": "cat $N >.all; sed -i -e '1,$d' -e '1r .all' $F; cat $N >.x; mv .x $F",
    "cp over it": "cp $N $F",
    "cp -p over it": "touch -d 2001-01-01 $N; cp -p $N $F",
    "cp --remove-destination": "cp --remove-destination $N $F",
    "install": "install -m 600 $N $F",
    "tee": "tee $F <$N >.out",
    "dd in small blocks": "dd if=$N of=$F bs=16 2>.out",
    "dd without a truncate": "dd if=$N of=$F bs=16 conv=notrunc 2>.out; truncate -s $S $F",
    "mv from another file system": "cp $N /dev/shm/ai-gateway-$$; mv /dev/shm/ai-gateway-$$ $F",
    "tar": "mkdir -p t; cp $N t/config.yml; tar cf t.tar -C t config.yml; tar xf t.tar",
    "tar --overwrite": "mkdir -p t; cp $N t/config.yml; tar cf t.tar -C t config.yml; tar xf t.tar --overwrite",
    "git checkout": "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; "
    "git init -q . 2>.out; git add config.yml; git commit -qm 1; cp $N $F; git commit -qam 2; git checkout -q HEAD~1; "
    "sleep 0.1; git checkout -q -",
    "a hard link": "ln -f $N $F",
    "a symbolic link in its place": "ln -s $N .link; mv -T .link $F",
    "a file of the same size and time": "touch -r $F $N; cp -p $N .x; mv .x $F",
    "a shell that appends line by line": ': >$F; while IFS= read -r line; do echo "$line" >>$F; sleep 0.02; done <$N',
    "python, fsync and all": "python3 -c \"import os,sys; f=open(sys.argv[1],'w'); f.write(open(sys.argv[2]).read()); "
    'f.flush(); os.fsync(f.fileno())" $F $N',
    "mmap": "truncate -s $S $F; python3 -c \"import mmap,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); "
    "m[:]=open(sys.argv[2],'rb').read(); m.flush()\" $F $N",
    "a slow line into a new file": 'rm $F; while IFS= read -r line; do echo "$line"; sleep 0.02; done <$N >$F',
    "locked away, written, given back": "chmod 000 $F; sleep 0.6; cat $N >$F; chmod 600 $F",
}


@pytest.mark.attack("files", "a config.yml saved as editors and tools do")
@pytest.mark.parametrize("name", SAVES)
async def test_a_save_is_taken_whole(world: World, tried: Tried, name: str) -> None:
    async with guarded(world) as gate:
        new = gate.path.with_name("n") / "new.yml"
        new.parent.mkdir()
        new.write_text(f"{gate.content}# {name}\n")
        before = (await gate.told())["hash"]
        words = f"F=config.yml; N={shlex.quote(str(new))}; S={new.stat().st_size}; {SAVES[name]}"
        process = await asyncio.create_subprocess_exec("/bin/bash", "-ec", words, cwd=gate.path.parent)
        assert await process.wait() == 0

        async def is_new() -> bool:
            return bool((await gate.told())["hash"] != before)

        tried.figure(f"in force after {await eventually(is_new):.1f} s")
        assert (await gate.told())["last_reload"] == "ok"
        assert gate.path.read_bytes() == new.read_bytes()
        assert gate.times("refused") == 0
