for (const button of document.querySelectorAll(".command button")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const command = button.previousElementSibling;
    let told = "Copied";
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      getSelection().selectAllChildren(command);
      told = "Selected";
    }
    button.textContent = told;
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}
