# Completion of gopipework for fish. To load it now: gopipework completion fish | source

function __gopipework_complete
	set -l words (commandline --tokenize --current-process --cut-at-cursor) (commandline --current-token --cut-at-cursor)
	set -l answer (gopipework --complete fish $words[2..-1] 2>/dev/null)
	if test "$answer" = :files
		__fish_complete_path (commandline --current-token --cut-at-cursor)
		return
	end
	printf '%s\n' $answer
end

complete --command gopipework --no-files --keep-order --arguments '(__gopipework_complete)'
